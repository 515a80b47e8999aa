"""Rows by owner: which rows of a call a patch may change, so that many patches share one pass over one frozen base."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from itertools import accumulate
from typing import Any, TypeVar

import torch
from torch.utils.checkpoint import checkpoint

Owner = str | None  # a patch whose owner is None acts on every row, whatever is stated
Spans = dict[Owner, slice]
T = TypeVar("T")


def spans(counts: Iterable[tuple[Owner, int]]) -> Spans:
    """The rows of each owner when `(owner, rows)` are stacked in this order.

    Raises:
        ValueError: an owner comes twice, or one of several parts has no owner.
    """
    stacked, end = Spans(), 0
    for owner, count in counts:
        if owner in stacked:
            raise ValueError(f"two parts of one batch are called {owner!r}: give each an owner of its own")
        stacked[owner] = slice(end, end := end + count)
    if None in stacked and len(stacked) > 1:
        raise ValueError("a part without an owner takes every row of a batch, so it must be alone in it")
    return stacked


class _Statement:
    """The owners of one call's rows, and what was computed once for that call."""

    def __init__(self, spans: Mapping[Owner, slice]) -> None:
        self.spans = spans
        self.end = max((rows.stop for rows in spans.values()), default=None)
        self.kept: dict[Hashable, tuple[Sequence[object], Any]] = {}


class Rows:
    """The owners of the rows of the present call of a text encoder or the denoiser, stated by the code that calls it.

    `with base.rows({"ann": slice(0, 4)}): ...` gives rows 0 to 3 to ann. Without a statement every row is everybody's.
    """

    def __init__(self) -> None:
        self._stated: _Statement | None = None

    @contextmanager
    def __call__(self, stated: Mapping[Owner, slice] | None) -> Iterator[None]:
        before, self._stated = self._stated, None if stated is None else _Statement(stated)
        try:
            yield
        finally:
            self._stated = before

    def of(self, owner: Owner, count: int) -> range:
        """The owner's rows of a call that has `count` rows.

        Raises:
            ValueError: the statement is for a call of another size.
        """
        stated = self._stated
        if stated is not None and stated.end not in (count, None):
            raise ValueError(
                f"owners are stated for {stated.end} rows but the call has {count}: state them for each call"
            )
        if owner is None or stated is None:
            return range(count)
        return range(count)[stated.spans.get(owner, slice(0, 0))]

    def once(self, what: Hashable, of: Sequence[object], make: Callable[[], T]) -> T:
        """`make()`, computed once while the present statement holds; without a statement, at every call.

        Args:
            what: names the computation.
            of: the objects that it is made of, compared by identity and not to be changed while the statement holds.
            make: computes it.
        """
        if self._stated is None:
            return make()
        kept, place = self._stated.kept, (what, torch.is_grad_enabled(), *map(id, of))
        if place not in kept:
            kept[place] = (of, make())  # `of` is kept too, so that no other object takes an id
        made: T = kept[place][1]
        return made

    def only(self, row: int) -> AbstractContextManager[None]:
        """The present statement as a call sees it that is made for one row of this one."""
        if self._stated is None:
            return nullcontext()
        spans = self._stated.spans
        return self({owner: slice(0, 1) for owner, rows in spans.items() if rows.start <= row < rows.stop})

    def folded(self, counts: Sequence[int]) -> AbstractContextManager[None]:
        """The present statement for a call that has `counts[row]` rows for each row of this one, side by side."""
        if self._stated is None or all(count == 1 for count in counts):
            return nullcontext()
        ends = [0, *accumulate(counts)]
        return self({owner: slice(ends[rows.start], ends[rows.stop]) for owner, rows in self._stated.spans.items()})

    def checkpoint(self, block: Callable[..., Any], *args: Any) -> Any:
        """Gradient checkpointing for a model under rows.

        Backward comes after the `with` has been left, so the block is run again under the statement it first had. Both
        runs compute for themselves what is computed once, so that both save the same tensors.
        """
        stated = None if self._stated is None else self._stated.spans
        return checkpoint(block, *args, use_reentrant=False, context_fn=lambda: (self(stated), self(stated)))
