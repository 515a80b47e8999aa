"""Rows by owner: the rows of a call that a patch may change. So many patches share one pass over one frozen base.

The code that calls a network states the owner of each row; patches ask for their owner's rows.

Dimensions: a call has R rows, of which each owner has one contiguous block. A text encoder may read a long prompt in
several chunks; then its call has one row per chunk, C in all.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from itertools import accumulate
from typing import Any, TypeVar

import torch
from torch.utils.checkpoint import checkpoint

Owner = str | None  # a patch whose owner is None acts on every row
Spans = dict[Owner, slice]
T = TypeVar("T")


def spans(counts: Iterable[tuple[Owner, int]]) -> Spans:
    """The block of rows of each owner, for `(owner, rows)` stacked in this order.

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
    """The owners of one call's rows, and results that were computed once for that call."""

    def __init__(self, spans: Mapping[Owner, slice]) -> None:
        self.spans = spans
        self.end = max((rows.stop for rows in spans.values()), default=None)
        self.kept: dict[Hashable, tuple[Sequence[object], Any]] = {}


class Rows:
    """The owners of the rows of the current call of a text encoder or the denoiser.

    The calling code states them: `with base.rows({"ann": slice(0, 4)}): ...` gives rows 0 to 3 to ann. Without a
    statement every patch acts on every row.
    """

    def __init__(self) -> None:
        self._stated: _Statement | None = None
        self.layers: torch.Tensor | None = None  # what each layer reads of the text, where layers differ

    @contextmanager
    def reading(self, layers: torch.Tensor | None) -> Iterator[None]:
        """State the hidden states of each layer of cross-attention [R, L, P, W] for the calls inside the block."""
        before, self.layers = self.layers, layers
        try:
            yield
        finally:
            self.layers = before

    @contextmanager
    def __call__(self, stated: Mapping[Owner, slice] | None) -> Iterator[None]:
        before, self._stated = self._stated, None if stated is None else _Statement(stated)
        try:
            yield
        finally:
            self._stated = before

    def of(self, owner: Owner, count: int) -> range:
        """The owner's rows of a call with `count` rows.

        Raises:
            ValueError: the statement is for a different number of rows.
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
        """`make()`, cached while the current statement holds. Without a statement it is computed at every call.

        Args:
            what: the name of the computation.
            of: its inputs, compared by identity. They must not change while the statement holds.
            make: computes the result.
        """
        if self._stated is None:
            return make()
        kept, key = self._stated.kept, (what, torch.is_grad_enabled(), *map(id, of))
        if key not in kept:
            kept[key] = (of, make())  # `of` is kept too, so that no other object gets the same id
        made: T = kept[key][1]
        return made

    def only(self, row: int) -> AbstractContextManager[None]:
        """The current statement for a call with one row, namely `row` of this call."""
        if self._stated is None:
            return nullcontext()
        spans = self._stated.spans
        return self({owner: slice(0, 1) for owner, rows in spans.items() if rows.start <= row < rows.stop})

    def folded(self, counts: Sequence[int]) -> AbstractContextManager[None]:
        """The current statement for a call with C rows: `counts[row]` adjacent chunks for each of the R rows."""
        if self._stated is None or all(count == 1 for count in counts):
            return nullcontext()
        ends = [0, *accumulate(counts)]
        return self({owner: slice(ends[rows.start], ends[rows.stop]) for owner, rows in self._stated.spans.items()})

    def checkpoint(self, block: Callable[..., Any], *args: Any) -> Any:
        """Gradient checkpointing that keeps the statement of rows.

        The backward pass runs after the `with` block has ended, so the block is recomputed under its first statement.
        Each run has its own cache of `once`, so that both save the same tensors.
        """
        stated, layers = None if self._stated is None else self._stated.spans, self.layers

        @contextmanager
        def again() -> Iterator[None]:
            with self(stated), self.reading(layers):
                yield

        return checkpoint(block, *args, use_reentrant=False, context_fn=lambda: (again(), again()))
