"""Several patches of one method as a single one: they are trained in one loss, and share one strength."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import Tensor

from .patch import ALL, Patch, Tensors


class Joint:
    """Patches of different tensors, which are open together.

    The only group of a patch is called by that patch's name in `parts`. Where a patch has several groups, they keep
    their names.
    """

    def __init__(self, parts: Mapping[str, Patch]) -> None:
        self.parts = parts

    def parameters(self) -> Mapping[str, Sequence[Tensor]]:
        return {
            name if group == ALL else group: tensors
            for name, part in self.parts.items()
            for group, tensors in part.parameters().items()
        }

    def tensors(self) -> Tensors:
        return {name: tensor for part in self.parts.values() for name, tensor in part.tensors().items()}

    def begin(self, *draw: object) -> None:
        for part in self.parts.values():
            part.begin(*draw)

    def set_strength(self, strength: float) -> None:
        for part in self.parts.values():
            part.set_strength(strength)
