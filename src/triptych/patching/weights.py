"""Changes a base's own weights in place and restores them, for all methods that move weights."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from torch import Tensor, nn

from ..base import Base, Owner
from ..errors import TriptychError
from .patch import ALL, Tensors, check_fit


@dataclass(eq=False)
class Moved:
    """A patch of weights: W' = weights below + strength x difference.

    Several patches lie on each other in the base's `pile`. To change the strength of one, those above it are taken off
    first and put back afterwards.
    """

    weights: dict[str, nn.Parameter]
    difference: Tensors  # empty while it is trained
    strength: float
    pile: list[Moved]
    below: Tensors = field(default_factory=dict)

    def parameters(self) -> Mapping[str, Sequence[Tensor]]:
        return {} if self.difference else {ALL: list(self.weights.values())}

    def tensors(self) -> Tensors:
        return self.difference or {
            name: (weight.detach().float() - self.below[name].float()).half() for name, weight in self.weights.items()
        }

    def set_strength(self, strength: float) -> None:
        self.difference = self.tensors()
        moving = self.pile[self.pile.index(self) :]
        for patch in reversed(moving):
            patch.leave()
        self.strength = strength
        for patch in moving:
            patch.enter()

    def enter(self) -> None:
        for name, weight in self.weights.items():
            below = self.below[name] = weight.data
            if not self.difference:
                weight.data = below.float().clone()
            elif self.strength:
                change = self.difference[name].to(below.device).float()
                weight.data = (below.float() + self.strength * change).to(below.dtype)

    def leave(self) -> None:
        for name, weight in self.weights.items():
            weight.data = self.below.pop(name)


@contextmanager
def moved(
    base: Base, method: str, weights: Mapping[str, nn.Parameter], tensors: Tensors, strength: float, owner: Owner
) -> Iterator[Moved]:
    """Add a difference to some of the base's weights, by their names in the artifact. Without tensors it is trained.

    Raises:
        TriptychError: an owner is given, or the difference is of other weights.
    """
    if owner is not None:
        raise TriptychError(
            f"{method} moves the base's own weights, which all rows share: it cannot be {owner!r}'s alone"
        )
    if tensors:
        check_fit(f"{method} difference", tensors, {name: weight.shape for name, weight in weights.items()})
    patch = Moved(dict(weights), tensors, strength, base.pile)
    patch.enter()
    base.pile.append(patch)
    try:
        yield patch
    finally:
        base.pile.remove(patch)
        patch.leave()
