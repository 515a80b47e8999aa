"""A memory plan: rows a pass and gradient checkpointing for a number of bytes, and the expected peak.

The jobs are tried with one row and with two before training begins, and what these passes allocate is counted. Memory
grows by the same amount with each row, so the two points give the peak of any pass. Nothing of the trial stays: its
gradients are dropped, and training draws anew.
"""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from ..base import Base
from ..errors import TriptychError
from ..units import counted, size
from .job import Job
from .passes import Piece, is_out_of_memory

Run = Callable[[Sequence[Piece]], object]  # one pass, forward and back
STATE = {  # numbers that an optimiser keeps for each number it trains
    "adamw": 2.0, "adamw8bit": 0.5, "adafactor": 0.1, "prodigy": 4.0, "lion": 1.0, "came": 1.2, "schedule-free": 2.0,
}  # fmt: skip


class Counted(TorchDispatchMode):
    """Counts the bytes of all tensors that are made inside the block and still live, and their peak.

    It sees the storage of every result of an operation, in the backward pass too, but not what a kernel takes for
    itself while it runs.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.live = self.peak = 0
        self.seen: set[int] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        given = {leaf.untyped_storage()._cdata for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)}
        result = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(result):
            if isinstance(tensor, Tensor):
                self._take(tensor, given)
        return result

    def _take(self, tensor: Tensor, given: Iterable[int]) -> None:
        storage = tensor.untyped_storage()
        place = storage._cdata
        if place in self.seen or place in given:
            return
        self.seen.add(place)
        self.live += storage.nbytes()
        self.peak = max(self.peak, self.live)
        weakref.finalize(storage, self._drop, place, storage.nbytes())

    def _drop(self, place: int, count: int) -> None:
        self.seen.discard(place)
        self.live -= count


@contextmanager
def counting(device: torch.device) -> Iterator[Callable[[], int]]:
    """Yield a function that returns the peak of what was allocated inside the block, in bytes."""
    gc.collect()
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        yield lambda: torch.cuda.max_memory_allocated(device) - before
        return
    with Counted() as counter:
        yield lambda: counter.peak


@dataclass(frozen=True)
class Plan:
    """A plan for one joint step.

    Attributes:
        rows: of the step.
        most_rows: of a pass.
        checkpointing: whether activations are recomputed.
        resting: bytes that stay during training: the base, what is trained, its averages and its optimiser's state.
        a_pass: bytes of a pass of `most_rows` besides, gradients among them.
        budget: bytes that were given.
    """

    rows: int
    most_rows: int
    checkpointing: bool
    resting: int
    a_pass: int
    budget: int

    @property
    def peak(self) -> int:
        """The expected peak in bytes."""
        return self.resting + self.a_pass

    def __str__(self) -> str:
        passes = -(-self.rows // self.most_rows)
        how = "a step in one pass" if passes == 1 else f"{passes} passes a step, whose gradients are added"
        recomputed = ", with gradient checkpointing" if self.checkpointing else ""
        return (
            f"memory: {counted(self.most_rows, 'row')} a pass, {self.rows} a step, {how}{recomputed}; expected peak"
            f" {size(self.peak)} of {size(self.budget)}: {size(self.resting)} at rest, {size(self.a_pass)} for a pass"
        )


def resting(base: Base, jobs: Sequence[Job]) -> int:
    """Bytes that stay allocated during training."""
    held = {id(p): p for module in base.modules().values() for p in module.parameters()}
    trained = {id(p): (p, job) for job in jobs for p in job.parameters}
    bytes_of = {key: tensor.numel() * tensor.element_size() for key, tensor in held.items()}
    total = sum(bytes_of.values())
    for key, (tensor, job) in trained.items():
        own = tensor.numel() * tensor.element_size()
        copies = STATE[job.training.optimizer] + bool(job.averages)
        total += round(own * copies) + own * (key not in bytes_of)
    return total


def plan(base: Base, jobs: Sequence[Job], run: Run, undo: Callable[[], None], budget: int, asked: bool) -> Plan:
    """Plan the passes of a step for `budget` bytes.

    Args:
        run: one pass of the given rows.
        undo: drops the gradients of a pass.
        asked: whether the user asked for gradient checkpointing.

    Raises:
        TriptychError: not even one row fits.
    """
    rest, rows = resting(base, jobs), sum(job.rows for job in jobs)
    for checkpointing in (True,) if asked else (False, True):
        first, step = _measured(base, jobs, run, undo, checkpointing)
        room = budget - rest - first
        if first and room >= 0:
            most = rows if step <= 0 else min(rows, 1 + room // step)
            return Plan(rows, int(most), checkpointing, rest, first + step * (int(most) - 1), budget)
    raise TriptychError(
        f"{size(budget)} of memory do not hold this training: {size(rest)} at rest, and {size(first)} for a pass of one"
        " row with gradient checkpointing; take a smaller base or resolution, or an optimiser with less state"
    )


def _measured(
    base: Base, jobs: Sequence[Job], run: Run, undo: Callable[[], None], checkpointing: bool
) -> tuple[int, int]:
    """The peak of a pass of one row, and what each further row adds; (0, 0) where memory runs out."""
    taken = []
    for rows in (1, 2):
        pieces = _first(jobs, rows)
        with base.checkpointed() if checkpointing else nullcontext():
            try:
                with counting(base.device) as peak:
                    run(pieces)
                taken.append(peak())
            except RuntimeError as error:
                if not is_out_of_memory(error):
                    raise
                return 0, 0
            finally:
                undo()
    return taken[0], taken[1] - taken[0]


def _first(jobs: Sequence[Job], rows: int) -> list[Piece]:
    """The first rows of the largest job: jobs differ little in what a row takes."""
    largest = max(jobs, key=lambda job: job.rows)
    return [(largest, range(min(rows, largest.rows)))]
