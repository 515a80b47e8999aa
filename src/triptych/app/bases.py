"""Keeps opened bases for later calls: each is lent to one call at a time, and the oldest are closed."""

from __future__ import annotations

import gc
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch

from ..base import Base, Place
from ..cancel import check

PATIENCE = 0.1  # seconds between looks at the token of a call that waits for a base


@dataclass
class Kept:
    """A base once it is open, the bytes of its weights, and the number of calls that use it or wait for it."""

    base: Base | None = None
    size: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)
    calls: int = 0


class Bases:
    """Opened bases by place.

    Args:
        memory: the most bytes of weights to keep. Beyond it, the bases that no call uses are closed, the one whose last
            use is longest ago first. A call can always open its base, whatever it weighs.
    """

    def __init__(self, memory: int) -> None:
        self.memory = memory
        self._kept: dict[Place, Kept] = {}  # in the order of their last uses
        self._guard = threading.Lock()  # of the dictionary, and of the numbers of calls

    @contextmanager
    def lent(self, place: Place) -> Iterator[Base]:
        """The base of a place, for this call alone. It is opened unless it is kept; a call waits while it is in use.

        Raises:
            TriptychError: as `Place.open`.
            Cancelled: the call was cancelled while it waited.
        """
        with self._guard:
            kept = self._kept.setdefault(place, Kept())
            kept.calls += 1
        try:
            while not kept.lock.acquire(timeout=PATIENCE):
                check()
            try:
                if kept.base is None:
                    kept.base = place.open()
                    kept.size = kept.base.size
                    self._close(self.memory)
                yield kept.base
            finally:
                kept.lock.release()
        finally:
            with self._guard:
                kept.calls -= 1
                self._kept[place] = self._kept.pop(place)
            self._close(self.memory)

    def places(self) -> list[Place]:
        """The places whose bases are open, the one whose last use is longest ago first."""
        with self._guard:
            return [place for place, kept in self._kept.items() if kept.base]

    @property
    def size(self) -> int:
        """Bytes of the weights of all open bases."""
        with self._guard:
            return sum(kept.size for kept in self._kept.values())

    def close(self) -> None:
        """Close all bases that no call uses."""
        self._close(-1)

    def _close(self, most: int) -> None:
        """Close bases that no call uses, the oldest first, until all weigh at most so many bytes."""
        closed = False
        with self._guard:
            for place, kept in list(self._kept.items()):
                if kept.calls == 0 and (kept.base is None or sum(k.size for k in self._kept.values()) > most):
                    closed |= kept.base is not None
                    del self._kept[place]
                    kept.base = None  # the call that used it last still knows its entry
        if closed:
            gc.collect()  # a base refers to itself
            if torch.cuda.is_available():
                torch.cuda.empty_cache()
