"""One hook a layer: what the patches of all owners add there, each to its owner's rows.

Adapters of equal shape whose owners have equally many rows, side by side, are applied as one batched product. So forty
adapters cost what one costs, and their own arithmetic.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from .rows import Owner, Rows

Side = Literal["receives", "gives"]


@dataclass(frozen=True, eq=False)
class Change:
    """What one patch adds, on its owner's rows, to what a layer receives or to what it gives.

    Attributes:
        owner: whose rows; None for all.
        add: `add(x, *tensors)`, what is added, from what the layer receives, x [rows, ..., width].
        tensors: the patch's own, also while they are being trained.
        strength: multiplies what is added; asked at every call. At 0 the layer is left as it is, bit for bit.
        kind: changes of one kind, with tensors of equal shapes, are also added for several owners at once, by
            `add(x [owners, rows x ..., width], *tensors [owners, ...])`. None: for one owner at a time.
        reused: layers that receive the same tensor have this same change, so it is computed once for all of them.
    """

    owner: Owner
    add: Callable[..., Tensor]
    tensors: tuple[Tensor, ...]
    strength: Callable[[], float]
    kind: Hashable = None
    reused: bool = False
    alike: Hashable = field(init=False)  # what changes that are added at once have in common

    def __post_init__(self) -> None:
        object.__setattr__(self, "alike", (self.kind, *(tensor.shape for tensor in self.tensors)))


class _Part(NamedTuple):
    """A change on the rows that it acts on in the present call."""

    start: int
    stop: int
    change: Change
    strength: float


@dataclass
class _Layer:
    """The changes on one side of a layer, in the order in which they were opened."""

    changes: list[Change]
    hook: RemovableHandle


class Changes:
    """All changes that are open on a base, by layer.

    `stacks` has the tensors that live in a stack: by the id of the tensor, the stack [owners, ...] and the place in it.
    While it is there, the stack and not the tensor is what gradients go to.
    """

    def __init__(self, rows: Rows) -> None:
        self.rows = rows
        self.stacks: dict[int, tuple[Tensor, int]] = {}
        self._layers: dict[tuple[nn.Module, Side], _Layer] = {}

    @contextmanager
    def on(self, layer: nn.Module, side: Side, change: Change) -> Iterator[None]:
        """Add the change to what the layer receives or gives, for as long as the `with` block lasts.

        On the same rows, what a layer receives is changed by one after the other, in the order of opening; what it
        gives is changed by the sum.
        """
        place = (layer, side)
        if place not in self._layers:
            self._layers[place] = self._hooked(layer, side)
        self._layers[place].changes.append(change)
        try:
            yield
        finally:
            self._layers[place].changes.remove(change)
            if not self._layers[place].changes:
                self._layers.pop(place).hook.remove()

    def kinds(self) -> dict[int, Hashable]:
        """The kind of change that each tensor is part of, by its id: of those that are only in changes with a kind."""
        changes = [change for layer in self._layers.values() for change in layer.changes]
        alone = {id(tensor) for change in changes if change.kind is None for tensor in change.tensors}
        kinds = {id(tensor): change.kind for change in changes for tensor in change.tensors}
        return {tensor: kind for tensor, kind in kinds.items() if tensor not in alone}

    def tensors_in(self, *modules: nn.Module) -> set[int]:
        """The ids of the tensors of the changes on layers inside these modules."""
        inside = {layer for module in modules for layer in module.modules()}
        found = [one for (layer, _), one in self._layers.items() if layer in inside]
        return {id(tensor) for one in found for change in one.changes for tensor in change.tensors}

    def _hooked(self, layer: nn.Module, side: Side) -> _Layer:
        changes: list[Change] = []

        def before(_: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
            return (self._changed(changes, None, inputs[0]), *inputs[1:])

        def after(_: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
            return self._changed(changes, output, inputs[0])

        hook = layer.register_forward_pre_hook(before) if side == "receives" else layer.register_forward_hook(after)
        return _Layer(changes, hook)

    def _changed(self, changes: Sequence[Change], y: Tensor | None, x: Tensor) -> Tensor:
        """What the layer gives, `y` [rows, ...], or without it what it receives, `x`, with all changes added."""
        parts = []
        for change in changes:
            if strength := change.strength():
                mine = self.rows.of(change.owner, len(x))
                if mine:
                    parts.append(_Part(mine.start, mine.stop, change, strength))
        if not parts:
            return x if y is None else y
        if len(parts) == 1 and y is not None and parts[0].stop - parts[0].start == len(x):
            return self._added(parts, y, x)
        if y is None and all(part.change.reused for part in parts):
            strengths = tuple(part.strength for part in parts)
            of = (x, *(part.change for part in parts))
            return self.rows.once(strengths, of, lambda: self._in_turn(parts, None, x))
        return self._in_turn(parts, y, x)

    def _in_turn(self, parts: Sequence[_Part], y: Tensor | None, x: Tensor) -> Tensor:
        for turn in _turns(parts, len(x)):
            if y is None:
                x = self._at_once(turn, x, x)
            else:
                y = self._at_once(turn, y, x)
        return x if y is None else y

    def _at_once(self, parts: Sequence[_Part], y: Tensor, x: Tensor) -> Tensor:
        """`y` with the changes of parts that share no rows; it is joined once, whatever their number."""
        groups = _groups(parts)
        if len(groups) == 1 and groups[0][-1].stop - groups[0][0].start == len(y):
            return self._added(groups[0], y, x)
        sizes, wholes, end = list[int](), list[Sequence[_Part]](), 0
        for group in [*groups, ()]:
            start = group[0].start if group else len(y)
            if start > end:
                sizes.append(start - end)
                wholes.append(())
            if group:
                end = group[-1].stop
                sizes.append(end - start)
                wholes.append(group)
        xs = x.split(sizes)
        ys = xs if x is y else y.split(sizes)
        return torch.cat([self._added(*one) if one[0] else one[1] for one in zip(wholes, ys, xs, strict=True)])

    def _added(self, group: Sequence[_Part], y: Tensor, x: Tensor) -> Tensor:
        """`y` + strength x change, for one owner or for several at once; these are all the rows of `y` and `x`."""
        change, strength = group[0].change, group[0].strength
        if len(group) == 1:
            return torch.add(y, change.add(x, *map(self._live, change.tensors)), alpha=strength)
        stacks = [self._stack(column) for column in zip(*(part.change.tensors for part in group), strict=True)]
        added = change.add(x.reshape(len(group), -1, x.shape[-1]), *stacks)
        if any(part.strength != strength for part in group):
            strengths = torch.tensor([part.strength for part in group], dtype=added.dtype, device=added.device)
            added, strength = added * strengths.reshape(-1, 1, 1), 1.0
        return torch.add(y, added.reshape(y.shape), alpha=strength)

    def _live(self, tensor: Tensor) -> Tensor:
        stack, place = self.stacks.get(id(tensor), (None, 0))
        return tensor if stack is None else stack[place]

    def _stack(self, tensors: Sequence[Tensor]) -> Tensor:
        """The tensors of several owners as one [owners, ...]: without a copy where they live in one stack."""
        stack, _ = self.stacks.get(id(tensors[0]), (None, 0))
        if stack is not None and len(stack) == len(tensors):
            homes = [self.stacks.get(id(tensor), (None, 0)) for tensor in tensors]
            if all(home is stack and place == i for i, (home, place) in enumerate(homes)):
                return stack
        return self.rows.once("stack", tensors, lambda: torch.stack([self._live(tensor) for tensor in tensors]))


def _turns(parts: Sequence[_Part], count: int) -> list[list[_Part]]:
    """The parts in as few turns as there must be, those of one turn on different rows, in the order of rows."""
    turns, reached = list[list[_Part]](), dict[Owner, int]()
    everyone = 0  # turns that a change of all rows has closed
    for part in parts:
        owner = part.change.owner
        if part.stop - part.start == count:
            turn, everyone = len(turns), len(turns) + 1
        else:
            turn = max(everyone, reached.get(owner, 0))
            reached[owner] = turn + 1
        if turn == len(turns):
            turns.append([])
        turns[turn].append(part)
    return [sorted(turn, key=lambda part: part.start) for turn in turns]


def _groups(parts: Sequence[_Part]) -> list[list[_Part]]:
    """Neighbours that can be added at once, together."""
    groups: list[list[_Part]] = []
    for part in parts:
        last = groups[-1][-1] if groups else None
        if (
            last is not None
            and part.change.kind is not None
            and part.change.alike == last.change.alike
            and part.start == last.stop
            and part.stop - part.start == last.stop - last.start
        ):
            groups[-1].append(part)
        else:
            groups.append([part])
    return groups
