"""Cuts the rows of a step into passes: by the accumulation that jobs ask for, and by the rows that memory holds.

The gradients of the passes add up to those of the whole step, so the cut changes the result by rounding alone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

import torch

from ..errors import TriptychError
from .job import Job

T = TypeVar("T")
Piece = tuple[Job, range]  # a job, and some of the rows of its step
MESSAGES = ("out of memory", "can't allocate memory", "not enough memory")  # of torch's allocators


@dataclass
class Passes:
    """The passes of a step.

    Attributes:
        most: most rows of a pass; None: no bound. It is halved when memory runs out.
        note: shows the user a sentence.
    """

    most: int | None = None
    note: Callable[[str], None] = field(default=lambda sentence: None)

    def of(self, jobs: Sequence[Job]) -> list[list[Piece]]:
        """The rows of all jobs in as few passes as their accumulation and `most` allow."""
        found: list[list[Piece]] = []
        for turn in range(max(job.training.accumulate for job in jobs)):
            some = [(job, _share(job, turn)) for job in jobs if turn < job.training.accumulate]
            found += _cut(some, self.most) if self.most else [some]
        return found

    def retried(self, jobs: Sequence[Job], run: Callable[[], T], undo: Callable[[], None]) -> T:
        """`run()`; where memory runs out, `undo()` and again with passes of half as many rows.

        Raises:
            TriptychError: memory runs out in a fused step, which has moved some parameters already.
            RuntimeError: memory runs out with a single row, or `run` fails for another reason.
        """
        while True:
            try:
                return run()
            except RuntimeError as error:
                if is_out_of_memory(error) and any(job.is_fused for job in jobs):
                    raise TriptychError(
                        "memory ran out in a fused step, which cannot be begun again with fewer rows; take a smaller"
                        " batch, or checkpointing"
                    ) from error
                largest = max(sum(len(rows) for _, rows in own) for own in self.of(jobs))
                if not is_out_of_memory(error) or largest == 1:
                    raise
                self.most = (largest + 1) // 2
            undo()
            if torch.cuda.is_available():
                torch.cuda.empty_cache()
            self.note(f"memory ran out with {largest} rows in a pass: it goes on with {self.most}, to the same result")


def is_out_of_memory(error: BaseException) -> bool:
    return isinstance(error, torch.OutOfMemoryError) or any(said in str(error).lower() for said in MESSAGES)


def _share(job: Job, turn: int) -> range:
    size = job.rows // job.training.accumulate
    return range(turn * size, (turn + 1) * size)


def _cut(pieces: Sequence[Piece], most: int) -> list[list[Piece]]:
    """The pieces in order, in passes of `most` rows; the last one may have fewer."""
    found: list[list[Piece]] = [[]]
    room = most
    for job, rows in pieces:
        first = rows.start
        while first < rows.stop:
            if not room:
                found.append([])
                room = most
            stop = min(rows.stop, first + room)
            found[-1].append((job, range(first, stop)))
            room, first = room - (stop - first), stop
    return found
