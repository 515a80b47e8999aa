"""Changes a base's own weights in place and restores them, for all methods that move weights."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from torch import Tensor, nn

from ..base import Base, Owner
from ..errors import TriptychError
from .patch import ALL, Tensors, check_fit

NORMS = (nn.GroupNorm, nn.LayerNorm)


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
    groups: Mapping[str, str]  # by name, where it is not the only one
    beside: Sequence[nn.Parameter] = ()  # of norms whose other weights move: float32 too while those are trained
    below: Tensors = field(default_factory=dict)
    _beside: list[tuple[nn.Parameter, Tensor]] = field(default_factory=list)

    def parameters(self) -> Mapping[str, Sequence[Tensor]]:
        groups: dict[str, list[nn.Parameter]] = {}
        for name, weight in () if self.difference else self.weights.items():
            groups.setdefault(self.groups.get(name, ALL), []).append(weight)
        return groups

    def tensors(self) -> Tensors:
        return self.difference or {
            name: (weight.detach().float() - self.below[name].float()).half() for name, weight in self.weights.items()
        }

    def begin(self, *draw: object) -> None: ...

    def set_strength(self, strength: float) -> None:
        self.difference = self.tensors()
        moving = self.pile[self.pile.index(self) :]
        for patch in reversed(moving):
            patch.leave()
        self.strength = strength
        for patch in moving:
            patch.enter()

    def enter(self) -> None:
        if not self.difference:
            self._beside = [(weight, weight.data) for weight in self.beside]
            for weight in self.beside:
                weight.data = weight.data.float()
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
        for weight, data in self._beside:
            weight.data = data
        self._beside = []


def _beside(base: Base, weights: Mapping[str, nn.Parameter]) -> list[nn.Parameter]:
    """The weights at rest of the norms some of whose weights move: torch wants those of one norm in one type."""
    moving = {id(weight) for weight in weights.values()}
    norms = [part for module in base.modules().values() for part in module.modules() if isinstance(part, NORMS)]
    owned = [list(norm.parameters(recurse=False)) for norm in norms]
    return [
        weight
        for own in owned
        if any(id(tensor) in moving for tensor in own)
        for weight in own
        if id(weight) not in moving
    ]


@contextmanager
def moved(
    base: Base,
    method: str,
    weights: Mapping[str, nn.Parameter],
    tensors: Tensors,
    strength: float,
    owner: Owner,
    groups: Mapping[str, str] | None = None,
) -> Iterator[Moved]:
    """Add a difference to some of the base's weights, by their names in the artifact. Without tensors it is trained.

    `groups` are the groups of parameters by name, where there are several.

    Raises:
        TriptychError: an owner is given, or the difference is of other weights.
    """
    if owner is not None:
        raise TriptychError(
            f"{method} moves the base's own weights, which all rows share: it cannot be {owner!r}'s alone"
        )
    if tensors:
        tensors = base.denoiser.fitted(tensors)
        check_fit(f"{method} difference", tensors, {name: weight.shape for name, weight in weights.items()})
    patch = Moved(dict(weights), tensors, strength, base.pile, groups or {}, _beside(base, weights))
    patch.enter()
    base.pile.append(patch)
    try:
        yield patch
    finally:
        base.pile.remove(patch)
        patch.leave()
