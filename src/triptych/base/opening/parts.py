"""The parts of an opened Stable Diffusion model, whatever they were read from."""

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
    """An opened model. `ignored` are the tensor names in the file that were not used; `told_by` is the source of the
    prediction type, as a clause."""

    family: Family
    tokenizers: tuple[CLIPTokenizer, ...]
    text_encoders: tuple[CLIPTextModel | CLIPTextModelWithProjection, ...]
    vae: AutoencoderKL
    unet: UNet2DConditionModel
    schedule: DDPMScheduler
    prediction: Prediction
    told_by: str
    ignored: tuple[str, ...] = ()
