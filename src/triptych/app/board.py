"""Where the jobs of a sweep train and are sampled, in this process or in a worker."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from ..base import Base, Place
from ..study.progress import Progress


class Board(Progress, Protocol):
    """A display with a row for each job."""

    def row(self, name: str, state: str, done: int = 0, steps: int = 0, loss: float | None = None) -> None:
        """Show the state of a job: "waits", "trains", "done", or why it failed."""
        ...


@dataclass(frozen=True)
class At:
    """The base, the sweep's folder, and its display."""

    base: Base
    out: Path
    board: Board


def in_worker(board: Board, place: Place, out: Path) -> At:
    """A worker's. It opens the base for itself."""
    return At(place.open(), out, board)
