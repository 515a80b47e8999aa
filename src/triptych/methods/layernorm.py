"""LayerNorm tuning trains the weights and biases of the transformers' layer norms, and nothing else (arXiv:2312.11420).

These are a few thousandths of the denoiser's weights. The result is a LoRA's relative, with the changes of the norms
as LyCORIS names them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import nn

from ..base import Base
from ..patching.patch import Tensors
from ..settings import setting
from . import Depth, Method, Training
from .by_lora import ByLora


@dataclass(frozen=True)
class Settings(Training):
    lr: float = setting(1e-3, "learning rate of the optimiser", least=0)
    group_norms: bool = setting(False, "train the group norms of the convolutional blocks, too")


class LayerNormTuning(ByLora[Settings], Method[Settings]):
    name: ClassVar[str] = "layernorm"
    title = "LayerNorm tuning"
    settings_class = Settings
    opens_at = Depth.LAYERS
    exports_as = ("kohya-lora",)
    usual = False

    def refusal(self, base: Base) -> str:
        if _norms(base, nn.LayerNorm):
            return ""
        return f"the denoiser of {base.family.title} has no layer norms with weights; take lora"

    def start(self, base: Base, settings: Settings, seed: int) -> Tensors:
        layers = _norms(base, nn.LayerNorm, *((nn.GroupNorm,) if settings.group_norms else ()))
        dtype = torch.get_default_dtype()
        return {
            f"{path}.{leaf}": torch.zeros(layer.weight.shape, dtype=dtype)
            for path, layer in layers.items()
            for leaf in ("w_norm", "b_norm")
        }


def _norms(base: Base, *kinds: type[nn.Module]) -> dict[str, Any]:
    """The denoiser's norms of these kinds that have weights and biases, by their names in files."""
    denoiser = base.denoiser
    return {
        f"{denoiser.name}.{path}": layer
        for path, layer in denoiser.module.named_modules()
        if isinstance(layer, kinds) and getattr(layer, "bias", None) is not None
    }
