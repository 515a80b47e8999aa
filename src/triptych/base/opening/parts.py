"""What a Stable Diffusion model is made of, wherever it was read from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ...families import Family
from ...files.checkpoint import Prediction

if TYPE_CHECKING:
    from diffusers import AutoencoderKL, DDPMScheduler, UNet2DConditionModel
    from transformers import CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer


@dataclass(frozen=True)
class Parts:
    """What was opened. `ignored` are the names in the file that nothing reads; `told_by` says how the prediction is
    known."""

    family: Family
    tokenizers: tuple[CLIPTokenizer, ...]
    text_encoders: tuple[CLIPTextModel | CLIPTextModelWithProjection, ...]
    vae: AutoencoderKL
    unet: UNet2DConditionModel
    schedule: DDPMScheduler
    prediction: Prediction
    told_by: str
    ignored: tuple[str, ...] = ()
