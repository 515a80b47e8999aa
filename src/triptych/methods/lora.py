"""LoRA adds a low-rank change to the attention layers of the UNet (arXiv:2106.09685).

W x + strength (alpha / rank) B A x is one line over two plain tensors a layer, added by a hook; peft's layers would
bring modules to take out again and a forward of their own that refuses rows while training. The names of the tensors
and the metadata are peft's and diffusers', so diffusers loads the file.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from ..base import Base, Owner, generator
from ..patch import Learned, Method, Stage, Tensors, Training, check_fit, method
from ..settings import setting

ATTENTION = ("to_q", "to_k", "to_v", "to_out.0")
MLP = ("ff.net.0.proj", "ff.net.2")
TARGETS = {"attention": ATTENTION, "attention+mlp": ATTENTION + MLP}


@dataclass(frozen=True)
class Settings(Training):
    lr: float = setting(1e-4, "learning rate of AdamW", least=0)
    rank: int = setting(8, "rank of each layer's change", least=1)
    alpha: float = setting(8.0, "the change is scaled by alpha / rank", least=0)
    targets: str = setting("attention", "which layers change", choices=tuple(TARGETS))
    identifier: str = setting("", "a rare word before the class word, such as 'sks'")


@method
class Lora(Method[Settings]):
    name: ClassVar[str] = "lora"
    stage = Stage.LAYERS
    settings_class = Settings

    def phrase(self, settings: Settings, class_word: str) -> str:
        return f"{settings.identifier} {class_word}".strip()

    def start(self, base: Base, settings: Settings, seed: int) -> Tensors:
        """A uniform as a linear layer's weight starts, B zero."""
        random, dtype = generator("start", seed), torch.get_default_dtype()
        return {
            name: torch.zeros(shape) if "lora_B" in name
            else (2 * torch.rand(shape, generator=random, dtype=dtype) - 1) / shape[1] ** 0.5
            for name, shape in _shapes(base, settings).items()
        }  # fmt: skip

    def metadata(self, settings: Settings) -> dict[str, str]:
        adapter = {
            "unet.r": settings.rank, "unet.lora_alpha": settings.alpha,
            "unet.target_modules": sorted(TARGETS[settings.targets]),
        }  # fmt: skip
        return {"lora_adapter_metadata": json.dumps(adapter)}

    @contextmanager
    def patch(
        self, base: Base, settings: Settings, tensors: Tensors, strength: float = 1.0, owner: Owner = None
    ) -> Iterator[Learned]:
        check_fit("LoRA", tensors, _shapes(base, settings))
        patch = Learned(tensors, strength, base.device)
        with ExitStack() as undo:
            for path, layer in _layers(base, settings):
                undo.callback(layer.register_forward_hook(_hook(base, patch, path, settings, owner)).remove)
            yield patch


def _hook(base: Base, patch: Learned, path: str, settings: Settings, owner: Owner) -> Callable[..., Tensor]:
    a, b = (patch.learned[f"unet.{path}.lora_{letter}.weight"] for letter in "AB")
    scale = settings.alpha / settings.rank

    def add(y: Tensor, x: Tensor) -> Tensor:
        return y + (patch.strength * scale) * (x @ a.T.to(x.dtype) @ b.T.to(x.dtype))

    def after(layer: nn.Module, inputs: tuple[Tensor], output: Tensor) -> Tensor:
        return base.rows.adapt(owner, add, output, inputs[0]) if patch.strength else output

    return after


def _layers(base: Base, settings: Settings) -> list[tuple[str, nn.Linear]]:
    return [(path, layer) for path, layer in base.unet.named_modules() if path.endswith(TARGETS[settings.targets])]


def _shapes(base: Base, settings: Settings) -> dict[str, torch.Size]:
    shapes = {}
    for path, layer in _layers(base, settings):
        shapes[f"unet.{path}.lora_A.weight"] = torch.Size([settings.rank, layer.in_features])
        shapes[f"unet.{path}.lora_B.weight"] = torch.Size([layer.out_features, settings.rank])
    return shapes
