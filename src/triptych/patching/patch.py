"""A patch: a reversible change to a base. Training and sampling open the same patch."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol

import torch
from torch import Tensor

from ..errors import OtherBaseError

Tensors = dict[str, Tensor]
ALL = "all"  # the name of the only group of parameters, for patches with one group


class Patch(Protocol):
    """A reversible change to a base, open inside one `with` block."""

    def parameters(self) -> Mapping[str, Sequence[Tensor]]:
        """The trainable parameters in named groups. A method can give each group its own learning rate."""
        ...

    def tensors(self) -> Tensors:
        """The tensors that an artifact keeps."""
        ...

    def begin(self, *draw: object) -> None:
        """Begin a step of training. What is random in the patch, such as dropout, depends on `draw` alone."""
        ...

    def set_strength(self, strength: float) -> None:
        """Set the strength: 0 is the base bit for bit, 1 the change as learned. The patch must be open."""
        ...

    def off(self) -> AbstractContextManager[None]:
        """Inside the `with` block the patch does nothing, also while it is trained: the base is that below it."""
        ...


class Learned:
    """A patch with its own float32 tensors beside the base. Its hooks read `strength` at every call.

    `group_of` gives the group of a tensor by its name; "" for one that is not trained. `as_kept` makes the tensors that
    an artifact keeps of those that are trained.
    """

    def __init__(
        self,
        tensors: Tensors,
        strength: float,
        device: torch.device,
        group_of: Callable[[str], str] = lambda name: ALL,
        as_kept: Callable[[Tensors], Tensors] = lambda tensors: tensors,
    ) -> None:
        self.group_of, self.as_kept = group_of, as_kept
        self.draw: tuple[object, ...] | None = None  # of the current step of training
        self.learned = {
            name: tensor.detach().to(device, _master(tensor), copy=True) for name, tensor in tensors.items()
        }
        self.strength = strength
        self.set_strength(strength)

    def parameters(self) -> Mapping[str, Sequence[Tensor]]:
        groups: dict[str, list[Tensor]] = {}
        for name, tensor in self.learned.items():
            if group := self.group_of(name):
                groups.setdefault(group, []).append(tensor)
        return groups

    def tensors(self) -> Tensors:
        return self.as_kept(self.learned)

    def begin(self, *draw: object) -> None:
        self.draw = draw

    def set_strength(self, strength: float) -> None:
        self.strength = strength

    @contextmanager
    def off(self) -> Iterator[None]:
        before = self.strength
        self.set_strength(0)
        try:
            yield
        finally:
            self.set_strength(before)


def _master(tensor: Tensor) -> torch.dtype:
    return tensor.dtype if tensor.dtype in (torch.float64, torch.bool) else torch.float32


def check_fit(what: str, tensors: Mapping[str, Tensor], shapes: Mapping[str, torch.Size]) -> None:
    """Check that tensors have exactly these names and shapes.

    Raises:
        OtherBaseError: a tensor does not fit; the message names it.
    """
    for name in [*shapes, *(name for name in tensors if name not in shapes)]:
        wanted = tuple(shapes[name]) if name in shapes else "none"
        given = tuple(tensors[name].shape) if name in tensors else "none"
        if wanted != given:
            raise OtherBaseError(f"{name} is {given}, the base has {wanted}", f"this {what}")
