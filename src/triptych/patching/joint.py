"""Several patches of one method as a single one: they are trained in one loss, and share one strength."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager

from torch import Tensor

from .patch import ALL, Patch, Tensors


class Joint:
    """Patches of different tensors, which are open together.

    The only group of a patch is called by that patch's name in `parts`. Where a patch has several groups, they keep
    their names. Tensors keep their names too, unless `prefixed` puts the name of their patch before them.
    """

    def __init__(self, parts: Mapping[str, Patch], prefixed: bool = False) -> None:
        self.parts, self.prefixed = parts, prefixed

    def parameters(self) -> Mapping[str, Sequence[Tensor]]:
        return {
            name if group == ALL else group: tensors
            for name, part in self.parts.items()
            for group, tensors in part.parameters().items()
        }

    def tensors(self) -> Tensors:
        return {
            f"{part}.{name}" if self.prefixed else name: tensor
            for part, patch in self.parts.items()
            for name, tensor in patch.tensors().items()
        }

    def begin(self, *draw: object) -> None:
        for part in self.parts.values():
            part.begin(*draw)

    def set_strength(self, strength: float) -> None:
        for part in self.parts.values():
            part.set_strength(strength)

    @contextmanager
    def off(self) -> Iterator[None]:
        with ExitStack() as stack:
            for part in self.parts.values():
                stack.enter_context(part.off())
            yield
