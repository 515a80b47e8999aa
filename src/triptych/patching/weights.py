"""Changes a base's own weights in place and restores them, for all methods that move weights."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from ..base import Base, Owner
from ..errors import TriptychError
from .aside import Aside, back
from .patch import ALL, Tensors, check_fit

NORMS = (nn.GroupNorm, nn.LayerNorm)
CPU = torch.device("cpu")


@dataclass(eq=False)
class Moved:
    """A patch of weights: W' = weights below + strength x difference.

    Several patches lie on each other in the base's `pile`. To change the strength of one, those above it are taken off
    first and put back afterwards.

    While the difference is trained, `holder` says what holds the weights. "fp32": the base's own parameters, in
    float32, with the weights below beside them. "bf16": its parameters, in bfloat16. "cpu": float32 masters on the CPU,
    from which the parameters are copied in the base's precision. With the last two, the weights below wait in files.
    """

    weights: dict[str, nn.Parameter]
    difference: Tensors  # empty while it is trained
    strength: float
    pile: list[Moved]
    groups: Mapping[str, str]  # by name, where it is not the only one
    beside: Sequence[nn.Parameter] = ()  # of norms whose other weights move: in the same type while those are trained
    holder: str = "fp32"
    below: Tensors = field(default_factory=dict)
    masters: dict[int, Tensor] = field(default_factory=dict)  # on the CPU, by the id of their weight
    _aside: Aside | None = None
    _beside: list[tuple[nn.Parameter, Tensor]] = field(default_factory=list)

    def parameters(self) -> Mapping[str, Sequence[Tensor]]:
        groups: dict[str, list[nn.Parameter]] = {}
        for name, weight in () if self.difference else self.weights.items():
            groups.setdefault(self.groups.get(name, ALL), []).append(weight)
        return groups

    def tensors(self) -> Tensors:
        return self.difference or {name: self._difference(name, weight) for name, weight in self.weights.items()}

    def _difference(self, name: str, weight: nn.Parameter) -> Tensor:
        below, trained = self.below[name], self.masters.get(id(weight), weight.detach())
        return (trained.to(below.device).float() - below.float()).half()

    def begin(self, *draw: object) -> None: ...

    def set_strength(self, strength: float) -> None:
        self.difference = self.tensors()
        moving = self.pile[self.pile.index(self) :]
        for patch in reversed(moving):
            patch.leave()
        self.strength = strength
        for patch in moving:
            patch.enter()

    @contextmanager
    def off(self) -> Iterator[None]:
        """The weights below, by pointer. Those that wait in files are read from there, and come to the device whole."""
        own = [(weight, weight.data) for weight in (*self.weights.values(), *self.beside)]
        try:
            for name, weight in self.weights.items():
                weight.data = self.below[name].to(weight.device)
            for weight, data in self._beside:
                weight.data = data
            yield
        finally:
            for weight, data in own:
                weight.data = data

    def enter(self) -> None:
        if not self.difference:
            self._begin_training()
            return
        for name, weight in self.weights.items():
            below = self.below[name] = weight.data
            if self.strength:
                change = self.difference[name].to(below.device).float()
                weight.data = (below.float() + self.strength * change).to(below.dtype)

    def _begin_training(self) -> None:
        kind = {"fp32": torch.float32, "bf16": torch.bfloat16}.get(self.holder)
        if kind:
            self._beside = [(weight, weight.data) for weight in self.beside]
            for weight in self.beside:
                weight.data = weight.data.to(kind)
        if self.holder != "fp32":
            self._aside = Aside()
        for name, weight in self.weights.items():
            own = weight.data
            self.below[name] = self._aside.put(own) if self._aside else own
            if self.holder == "cpu":
                self.masters[id(weight)] = own.to(CPU, torch.float32, copy=True)
            weight.data = own.to(kind or own.dtype, copy=True)

    def leave(self) -> None:
        for name, weight in self.weights.items():
            below = self.below.pop(name)
            weight.data = back(below, weight.device) if self._aside else below
        for weight, data in self._beside:
            weight.data = data
        self._beside, self.masters = [], {}
        if self._aside:
            self._aside.close()
            self._aside = None


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
    holder: str = "fp32",
) -> Iterator[Moved]:
    """Add a difference to some of the base's weights, by their names in the artifact. Without tensors it is trained.

    `groups` are the groups of parameters by name, where there are several. `holder` is that of `Moved`.

    Raises:
        TriptychError: an owner is given, the difference is of other weights, or the base is not in bf16 and is to be
            trained so.
    """
    if owner is not None:
        raise TriptychError(
            f"{method} moves the base's own weights, which all rows share: it cannot be {owner!r}'s alone"
        )
    if tensors:
        tensors = base.denoiser.fitted(tensors)
        check_fit(f"{method} difference", tensors, {name: weight.shape for name, weight in weights.items()})
    if holder == "bf16" and not tensors and base.dtype is not torch.bfloat16:
        own = str(base.dtype).removeprefix("torch.")
        raise TriptychError(f"{method}: masters=bf16 needs a base that is opened in bf16, and this one is in {own}")
    patch = Moved(dict(weights), tensors, strength, base.pile, groups or {}, _beside(base, weights), holder)
    patch.enter()
    base.pile.append(patch)
    try:
        yield patch
    finally:
        base.pile.remove(patch)
        patch.leave()
