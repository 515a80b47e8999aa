"""SVDiff shifts the singular values of the denoiser's weights, and leaves their directions (arXiv:2303.11305).

A weight W = U S V becomes U max(S + delta, 0) V (equations 2 and 3), so a layer is learned in as many numbers as it has
singular values. Convolutions count as matrices [out, in x kernel], and a norm's weight as one row. The decomposition is
made anew from the base when the file is attached. The result is a relative of LoRA (`patching/adapters.py`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import nn

from ..base import Base
from ..patching.patch import Tensors
from ..settings import setting
from . import Depth, PriorMethod, PriorSettings
from .by_lora import ByLora


@dataclass(frozen=True)
class Settings(PriorSettings):
    lr: float = setting(1e-3, "learning rate of the optimiser", least=0)
    convolutions: bool = setting(True, "train the convolutions, too; else the linear layers alone")


class SvDiff(ByLora[Settings], PriorMethod[Settings]):
    name: ClassVar[str] = "svdiff"
    title = "SVDiff"
    settings_class = Settings
    opens_at = Depth.LAYERS
    exports_as = ("triptych", "svdiff")
    usual = False

    def refusal(self, base: Base) -> str:
        if base.denoiser.context_width:
            return ""
        return (
            f"some linear layers of the denoiser of {base.family.title} read the tokens of all pictures as rows, so "
            "their rows have no owner; take lora"
        )

    def start(self, base: Base, settings: Settings, seed: int) -> Tensors:
        denoiser, dtype = base.denoiser, torch.get_default_dtype()
        kinds = (nn.Linear, nn.Conv2d) if settings.convolutions else (nn.Linear,)
        return {
            f"{denoiser.name}.{path}.delta": torch.zeros(min(layer.weight.flatten(1).shape), dtype=dtype)
            for path, layer in denoiser.module.named_modules()
            if isinstance(layer, kinds)
        }
