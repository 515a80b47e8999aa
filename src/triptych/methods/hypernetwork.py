"""A hypernetwork bends what becomes keys and values in attention with small nets, one pair for each width of context.

It is the hypernetwork of A1111's web UI: `x + net(x) * strength` before `to_k` and before `to_v`, in self- and in
cross-attention, wherever the context has one of the chosen widths. The nets are shared by all layers of their width.
(It is not that of arXiv:2307.06949, which predicts LoRA weights.)
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import pairwise
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..base import Base, Owner, generator
from ..errors import TriptychError
from ..patch import Learned, Method, Stage, Tensors, Training, check_fit, method
from ..settings import setting

ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "linear": lambda x: x, "relu": F.relu, "leakyrelu": F.leaky_relu, "elu": F.elu, "swish": F.hardswish,
    "tanh": torch.tanh, "sigmoid": torch.sigmoid, "softsign": F.softsign, "mish": F.mish,
}  # fmt: skip  # the names of A1111, whose "swish" is the hard one


@dataclass(frozen=True)
class Settings(Training):
    lr: float = setting(1e-5, "learning rate of AdamW", least=0)
    widths: str = setting("all", "context widths with nets of their own, such as '768,320'; 'cross': the text's; 'all'")
    layers: str = setting("1,2,1", "widths of a net's layers as multiples of the context's")
    activation: str = setting("linear", "between the layers", choices=tuple(ACTIVATIONS))
    spread: float = setting(0.01, "standard deviation of the first weights", least=0)

    @property
    def structure(self) -> list[float]:
        try:
            multiples = [float(part) for part in self.layers.split(",")]
        except ValueError:
            multiples = []
        if len(multiples) < 2 or multiples[0] != 1 or multiples[-1] != 1 or min(multiples) <= 0:
            raise TriptychError(f"hypernetwork: layers must begin and end with 1, as in '1,2,1', not {self.layers!r}")
        return multiples


@method
class Hypernetwork(Method[Settings]):
    name: ClassVar[str] = "hypernetwork"
    stage = Stage.CONTEXT
    settings_class = Settings

    def start(self, base: Base, settings: Settings, seed: int) -> Tensors:
        random = generator("start", seed)
        dtype = torch.get_default_dtype()
        return {
            name: torch.zeros(shape) if name.endswith("bias")
            else settings.spread * torch.randn(shape, generator=random, dtype=dtype)
            for name, shape in _shapes(base, settings).items()
        }  # fmt: skip

    @contextmanager
    def patch(
        self, base: Base, settings: Settings, tensors: Tensors, strength: float = 1.0, owner: Owner = None
    ) -> Iterator[Learned]:
        check_fit(self.name, tensors, _shapes(base, settings))
        patch = Learned(tensors, strength, base.device)
        with ExitStack() as undo:
            for net, layer in _layers(base, settings):
                undo.callback(layer.register_forward_pre_hook(_hook(base, patch, net, settings, owner)).remove)
            yield patch


def _hook(base: Base, patch: Learned, net: str, settings: Settings, owner: Owner) -> Callable[..., tuple[Tensor]]:
    activation = ACTIVATIONS[settings.activation]
    names = [name.removesuffix(".weight") for name in patch.learned if name.startswith(f"{net}.") and "weight" in name]

    def bend(x: Tensor) -> Tensor:
        y = x
        for i, name in enumerate(names):
            y = activation(y) if i else y
            y = F.linear(y, patch.learned[f"{name}.weight"].to(y.dtype), patch.learned[f"{name}.bias"].to(y.dtype))
        return x + patch.strength * y

    def before(layer: nn.Module, inputs: tuple[Tensor]) -> tuple[Tensor]:
        return (base.rows.adapt(owner, bend, inputs[0]) if patch.strength else inputs[0],)

    return before


def _layers(base: Base, settings: Settings) -> list[tuple[str, nn.Linear]]:
    """Every layer that makes keys or values of a chosen width, with its net's name: the width, and k or v."""
    found = [
        (layer.in_features, path[-1], layer)
        for path, layer in base.unet.named_modules()
        if path.endswith(("to_k", "to_v"))
    ]
    known = {width for width, _, _ in found}
    if settings.widths == "all":
        chosen = known
    elif settings.widths == "cross":
        chosen = {int(base.unet.config.cross_attention_dim)}
    else:
        chosen = {int(part) if part.strip().isdecimal() else -1 for part in settings.widths.split(",")}
    if not chosen <= known:
        raise TriptychError(
            f"hypernetwork: widths can be 'all', 'cross' or some of {sorted(known)}, not {settings.widths!r}"
        )
    return [(f"{width}.{letter}", layer) for width, letter, layer in found if width in chosen]


def _shapes(base: Base, settings: Settings) -> dict[str, torch.Size]:
    """Tensors by A1111's names: width, k or v, and the place in its Sequential, where activations count."""
    stride = 1 if settings.activation == "linear" else 2
    shapes = {}
    for net in sorted({net for net, _ in _layers(base, settings)}):
        width = int(net.split(".")[0])
        for i, (reads, gives) in enumerate(pairwise(settings.structure)):
            shapes[f"{net}.linear.{i * stride}.weight"] = torch.Size([int(width * gives), int(width * reads)])
            shapes[f"{net}.linear.{i * stride}.bias"] = torch.Size([int(width * gives)])
    return shapes
