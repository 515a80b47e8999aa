"""What a personalisation method is: a reversible change to a base, the same to train and to draw with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

import torch
from torch import Tensor

from ..errors import OtherBaseError

Tensors = dict[str, Tensor]
ALL = "all"  # the one group of parameters of a patch that has no need of several


class Patch(Protocol):
    """A reversible change to a base, open inside one `with` block."""

    def parameters(self) -> Mapping[str, Sequence[Tensor]]:
        """What training moves, in named groups; a method may give each group a learning rate of its own."""
        ...

    def tensors(self) -> Tensors:
        """What an artifact keeps."""
        ...

    def set_strength(self, strength: float) -> None:
        """0 is the base bit for bit, 1 the change as learned; may be called at any time while the patch is open."""
        ...


class Learned:
    """A Patch that keeps float32 tensors of its own beside the base; its hooks read `strength` at every call."""

    def __init__(self, tensors: Tensors, strength: float, device: torch.device) -> None:
        self.learned = {
            name: tensor.detach().to(device, _master(tensor), copy=True) for name, tensor in tensors.items()
        }
        self.strength = strength
        self.set_strength(strength)

    def parameters(self) -> Mapping[str, Sequence[Tensor]]:
        return {ALL: list(self.learned.values())}

    def tensors(self) -> Tensors:
        return self.learned

    def set_strength(self, strength: float) -> None:
        self.strength = strength


def _master(tensor: Tensor) -> torch.dtype:
    return tensor.dtype if tensor.dtype is torch.float64 else torch.float32


def check_fit(what: str, tensors: Mapping[str, Tensor], shapes: Mapping[str, torch.Size]) -> None:
    """Tensors must have these names and shapes exactly.

    Raises:
        OtherBaseError: naming the first tensor that does not fit.
    """
    for name in [*shapes, *(name for name in tensors if name not in shapes)]:
        wanted = tuple(shapes[name]) if name in shapes else "none"
        given = tuple(tensors[name].shape) if name in tensors else "none"
        if wanted != given:
            raise OtherBaseError(f"{name} is {given}, the base has {wanted}", f"this {what}")
