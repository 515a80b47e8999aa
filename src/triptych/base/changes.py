"""One hook per layer side, which applies the changes of all open patches, each to its owner's rows.

Adapters of equal shape, whose owners have adjacent blocks of equally many rows, are applied as one batched product. So
forty adapters take one call, plus their own arithmetic.

Dimensions: R rows of the call, O owners in a batched product, W width of the layer's input.
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
    """A term that one patch adds to the input or the output of a layer, on its owner's rows.

    Attributes:
        owner: the owner of the rows; None for all rows.
        add: `add(x, *tensors)` returns the term, from the layer's input x [R, ..., W].
        tensors: the patch's own, also while they are trained.
        strength: returns the factor of the term; called at every call. At 0 the layer is unchanged, bit for bit.
        kind: changes of one kind, with tensors of equal shapes, can be added for several owners at once, by
            `add(x [O, R / O x ..., W], *tensors [O, ...])`. None: one owner at a time.
        reused: several layers receive the same tensor and have this same change, so it is computed once for them all.
    """

    owner: Owner
    add: Callable[..., Tensor]
    tensors: tuple[Tensor, ...]
    strength: Callable[[], float]
    kind: Hashable = None
    reused: bool = False
    alike: Hashable = field(init=False)  # equal for changes that can be batched

    def __post_init__(self) -> None:
        object.__setattr__(self, "alike", (self.kind, *(tensor.shape for tensor in self.tensors)))


class _Part(NamedTuple):
    """A change and the rows that it acts on in the current call."""

    start: int
    stop: int
    change: Change
    strength: float


@dataclass
class _Layer:
    """The changes on one side of a layer, in the order of opening."""

    changes: list[Change]
    hook: RemovableHandle


class Changes:
    """All open changes of a base, by layer.

    `stacks` maps the id of a tensor to the stack [O, ...] that holds it, and its index there. Gradients then go to the
    stack, not to the tensor.
    """

    def __init__(self, rows: Rows) -> None:
        self.rows = rows
        self.stacks: dict[int, tuple[Tensor, int]] = {}
        self._layers: dict[tuple[nn.Module, Side], _Layer] = {}

    @contextmanager
    def on(self, layer: nn.Module, side: Side, change: Change) -> Iterator[None]:
        """Apply the change to the layer's input ("receives") or output ("gives") inside the `with` block.

        On the same rows, several changes of an input are applied one after the other, in the order of opening. Changes
        of an output are summed.
        """
        key = (layer, side)
        if key not in self._layers:
            self._layers[key] = self._hooked(layer, side)
        self._layers[key].changes.append(change)
        try:
            yield
        finally:
            self._layers[key].changes.remove(change)
            if not self._layers[key].changes:
                self._layers.pop(key).hook.remove()

    def kinds(self) -> dict[int, Hashable]:
        """The kind of change that each tensor belongs to, by the tensor's id; without tensors of changes of no kind."""
        changes = [change for layer in self._layers.values() for change in layer.changes]
        alone = {id(tensor) for change in changes if change.kind is None for tensor in change.tensors}
        kinds = {id(tensor): change.kind for change in changes for tensor in change.tensors}
        return {tensor: kind for tensor, kind in kinds.items() if tensor not in alone}

    def tensors(self) -> list[Tensor]:
        """The tensors of all changes, trained or not."""
        return [tensor for layer in self._layers.values() for change in layer.changes for tensor in change.tensors]

    def tensors_in(self, *modules: nn.Module) -> set[int]:
        """The ids of the tensors of the changes on layers inside these modules."""
        inside = {layer for module in modules for layer in module.modules()}
        found = [changed for (layer, _), changed in self._layers.items() if layer in inside]
        return {id(tensor) for changed in found for change in changed.changes for tensor in change.tensors}

    def _hooked(self, layer: nn.Module, side: Side) -> _Layer:
        changes: list[Change] = []

        def before(_: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
            return (self._changed(changes, None, inputs[0]), *inputs[1:])

        def after(_: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
            return self._changed(changes, output, inputs[0])

        hook = layer.register_forward_pre_hook(before) if side == "receives" else layer.register_forward_hook(after)
        return _Layer(changes, hook)

    def _changed(self, changes: Sequence[Change], y: Tensor | None, x: Tensor) -> Tensor:
        """The layer's output `y` [R, ...] with all changes; if `y` is None, its input `x` [R, ..., W] with them."""
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
            return self.rows.once(strengths, of, lambda: self._apply(parts, None, x))
        return self._apply(parts, y, x)

    def _apply(self, parts: Sequence[_Part], y: Tensor | None, x: Tensor) -> Tensor:
        for disjoint in _disjoint(parts, len(x)):
            if y is None:
                x = self._apply_disjoint(disjoint, x, x)
            else:
                y = self._apply_disjoint(disjoint, y, x)
        return x if y is None else y

    def _apply_disjoint(self, parts: Sequence[_Part], y: Tensor, x: Tensor) -> Tensor:
        """`y` with the changes of parts that share no rows. All pieces are joined by one `torch.cat`."""
        groups = _groups(parts)
        if len(groups) == 1 and groups[0][-1].stop - groups[0][0].start == len(y):
            return self._added(groups[0], y, x)
        sizes, pieces, end = list[int](), list[Sequence[_Part]](), 0
        for group in [*groups, ()]:
            start = group[0].start if group else len(y)
            if start > end:
                sizes.append(start - end)
                pieces.append(())
            if group:
                end = group[-1].stop
                sizes.append(end - start)
                pieces.append(group)
        xs = x.split(sizes)
        ys = xs if x is y else y.split(sizes)
        changed = (self._added(group, y, x) if group else y for group, y, x in zip(pieces, ys, xs, strict=True))
        return torch.cat(list(changed))

    def _added(self, group: Sequence[_Part], y: Tensor, x: Tensor) -> Tensor:
        """`y` + strength x change, for one owner or a batch of owners, whose rows are all rows of `y` and `x`."""
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
        stack, index = self.stacks.get(id(tensor), (None, 0))
        return tensor if stack is None else stack[index]

    def _stack(self, tensors: Sequence[Tensor]) -> Tensor:
        """The tensors of several owners as one [O, ...]; without a copy if they are one whole stack."""
        stack, _ = self.stacks.get(id(tensors[0]), (None, 0))
        if stack is not None and len(stack) == len(tensors):
            found = [self.stacks.get(id(tensor), (None, 0)) for tensor in tensors]
            if all(other is stack and index == i for i, (other, index) in enumerate(found)):
                return stack
        return self.rows.once("stack", tensors, lambda: torch.stack([self._live(tensor) for tensor in tensors]))


def _disjoint(parts: Sequence[_Part], count: int) -> list[list[_Part]]:
    """Divide the parts into as few passes as possible. The parts of a pass share no rows and are sorted by row."""
    passes, reached = list[list[_Part]](), dict[Owner, int]()
    closed = 0  # passes up to the last change of all rows
    for part in parts:
        owner = part.change.owner
        if part.stop - part.start == count:
            index, closed = len(passes), len(passes) + 1
        else:
            index = max(closed, reached.get(owner, 0))
            reached[owner] = index + 1
        if index == len(passes):
            passes.append([])
        passes[index].append(part)
    return [sorted(own, key=lambda part: part.start) for own in passes]


def _groups(parts: Sequence[_Part]) -> list[list[_Part]]:
    """Group adjacent parts that can be applied as one batched product."""
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
