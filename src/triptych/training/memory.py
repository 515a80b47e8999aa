"""A memory plan: rows a pass, gradient checkpointing and offloading for a number of bytes, and the expected peak.

The jobs are tried with one row and with two before training begins, and what these passes allocate is counted. Memory
grows by the same amount with each row, so the two points give the peak of any pass. Nothing of the trial stays: its
gradients are dropped, and training draws anew. A plan changes what is trained by rounding alone; what would change more
it only names.
"""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from itertools import chain
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from ..base import Base
from ..errors import TriptychError
from ..patching.aside import is_aside
from ..units import counted, size
from .job import Job
from .passes import Piece, is_out_of_memory
from .sizes import differences, held, savings, starts, state_of, stepping

Run = Callable[[Sequence[Piece]], object]  # one pass, forward and back


class Counted(TorchDispatchMode):
    """Counts the bytes of all tensors that are made inside the block and still live, and their peak.

    It sees the storage of every result of an operation, in the backward pass too, but not what a kernel takes for
    itself while it runs. Tensors that lie in files do not count.
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
        if place in self.seen or place in given or is_aside(tensor):
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
class Arrangement:
    """How a pass is made to take less memory, to the same result.

    Attributes:
        checkpointing: whether activations are recomputed.
        offload: the weights that wait in files: "none", "idle" or "all", as in the settings.
    """

    checkpointing: bool = False
    offload: str = "none"

    def __str__(self) -> str:
        waits = {"idle": ", networks at rest in files", "all": ", weights that are not trained in files"}
        recomputed = ", with gradient checkpointing" if self.checkpointing else ""
        return recomputed + waits.get(self.offload, "")

    def then(self) -> list[Arrangement]:
        """This one, and those that take less memory and more time, in the order of the time that they take."""
        idle = max(self.offload, "idle", key=OFFLOADS.index)
        found = [self, Arrangement(self.checkpointing, idle), Arrangement(True, idle), Arrangement(True, "all")]
        return list(dict.fromkeys(found))


OFFLOADS = ("none", "idle", "all")
Opened = Callable[[Arrangement], AbstractContextManager[int]]  # yields the bytes of stored weights on the device


@dataclass(frozen=True)
class Plan:
    """A plan for one joint step.

    Attributes:
        rows: of the step.
        most_rows: of a pass.
        arrangement: how a pass takes less memory.
        resting: bytes that stay during training: the base, what is trained, its averages and its optimiser's state.
        a_pass: bytes of a pass of `most_rows` besides, gradients among them, or of what comes after it.
        budget: bytes that were given.
    """

    rows: int
    most_rows: int
    arrangement: Arrangement
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
        return (
            f"memory: {counted(self.most_rows, 'row')} a pass, {self.rows} a step, {how}{self.arrangement}; expected"
            f" peak {size(self.peak)} of {size(self.budget)}: {size(self.resting)} at rest, {size(self.a_pass)} for a"
            " pass"
        )


def resting(base: Base, jobs: Sequence[Job], data: Sequence[Tensor], stored: int) -> int:
    """Bytes that stay allocated on the device during training, of which `stored` are weights stored otherwise."""
    parts = [
        *data,
        *(tensor for module in base.modules().values() for tensor in (*module.parameters(), *module.buffers())),
        *chain(*(patch.below.values() for patch in base.pile)),
        *base.changes.tensors(),
        *chain(*(chain(job.parameters, job.averages) for job in jobs)),
    ]
    states = sum(state_of(job, base.device) for job in jobs)
    return held(parts, base.device) + states + stored + starts(base, jobs)


def plan(
    base: Base,
    jobs: Sequence[Job],
    run: Run,
    undo: Callable[[], None],
    budget: int,
    asked: Arrangement,
    opened: Opened,
    data: Sequence[Tensor],
) -> Plan:
    """Plan the passes of a step for `budget` bytes.

    Args:
        run: one pass of the given rows.
        undo: drops the gradients of a pass.
        asked: what the user asked for.
        opened: opens an arrangement.
        data: pictures and texts that training keeps.

    Raises:
        TriptychError: not even one row fits, or not all rows of a fused step.
    """
    rows = sum(job.rows for job in jobs)
    least = rows if any(job.is_fused for job in jobs) else 1
    after = max(sum(stepping(job, base.device) for job in jobs), differences(base))
    for arrangement in asked.then():
        with opened(arrangement) as stored:
            rest = resting(base, jobs, data, stored)
            first, step = _measured(base, jobs, run, undo)
        most = rows if step <= 0 else min(rows, 1 + (budget - rest - first) // step)
        if first and most >= least and rest + max(first, after) <= budget:
            return Plan(rows, int(most), arrangement, rest, max(first + step * (int(most) - 1), after), budget)
    raise TriptychError(
        f"{size(budget)} of memory do not hold this training: {size(rest)} at rest, and"
        f" {size(max(first + step * (least - 1), after))} for a pass of {counted(least, 'row')}{arrangement}; take a"
        f" smaller base or resolution{savings(base, jobs)}"
    )


def _measured(base: Base, jobs: Sequence[Job], run: Run, undo: Callable[[], None]) -> tuple[int, int]:
    """The peak of a pass of one row, and what each further row adds; (0, 0) where memory runs out."""
    taken = []
    for rows in (1, 2):
        pieces = _last(jobs, rows)
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


def _last(jobs: Sequence[Job], rows: int) -> list[Piece]:
    """The last rows of the largest job, prior rows if it has any: jobs differ little in what a row takes."""
    largest = max(jobs, key=lambda job: job.rows)
    return [(largest, range(max(largest.rows - rows, 0), largest.rows))]
