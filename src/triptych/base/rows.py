"""Rows by owner: which rows of a call a patch may change, so that many patches share one pass over one frozen base."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

Owner = str | None  # a patch whose owner is None acts on every row, whatever is stated
Spans = dict[Owner, slice]


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


class Rows:
    """Whoever calls the text encoder or the UNet states the owners of that call.

    `with base.rows({"ann": slice(0, 4)}): ...` gives rows 0 to 3 to ann. Without a statement every row is everybody's.
    """

    def __init__(self) -> None:
        self._stated: Mapping[Owner, slice] | None = None

    @contextmanager
    def __call__(self, stated: Mapping[Owner, slice] | None) -> Iterator[None]:
        before, self._stated = self._stated, stated
        try:
            yield
        finally:
            self._stated = before

    def of(self, owner: Owner, count: int) -> range:
        """The owner's rows of a call that has `count` rows.

        Raises:
            ValueError: the statement is for a call of another size.
        """
        if self._stated is not None:
            end = max((rows.stop for rows in self._stated.values()), default=count)
            if end != count:
                raise ValueError(f"owners are stated for {end} rows but the call has {count}: state them for each call")
        if owner is None or self._stated is None:
            return range(count)
        return range(count)[self._stated.get(owner, slice(0, 0))]

    def adapt(self, owner: Owner, change: Callable[..., Tensor], x: Tensor, *more: Tensor) -> Tensor:
        """`change(x, *more)` on the owner's rows of `x` [rows, ...]; the other rows of `x` pass by untouched."""
        mine = self.of(owner, len(x))
        if not mine:
            return x
        if len(mine) == len(x):
            return change(x, *more)
        rows = slice(mine.start, mine.stop)
        return torch.cat([x[: rows.start], change(x[rows], *(m[rows] for m in more)), x[rows.stop :]])

    def only(self, row: int) -> AbstractContextManager[None]:
        """The present statement as a call sees it that is made for one row of this one."""
        stated = self._stated
        if stated is None:
            return nullcontext()
        return self({owner: slice(0, 1) for owner, rows in stated.items() if rows.start <= row < rows.stop})

    def checkpoint(self, block: Callable[..., Any], *args: Any) -> Any:
        """Gradient checkpointing for a model under rows.

        Backward comes after the `with` has been left, so the block is run again under the statement it first had.
        """
        stated = self._stated
        return checkpoint(block, *args, use_reentrant=False, context_fn=lambda: (nullcontext(), self(stated)))
