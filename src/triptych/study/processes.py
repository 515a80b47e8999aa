"""Processes beside this one, forked from a server that has the libraries loaded, and how many a study has of them."""

from __future__ import annotations

import multiprocessing
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing import forkserver, resource_tracker
from multiprocessing.connection import Connection
from typing import Any

import psutil
import torch

from ..base import Base
from ..base.opening.loading import LIBRARIES

PRELOADED = ["torch", *LIBRARIES, "triptych.study.run"]  # once, not for each process
WAIT = 0.1  # seconds between looks at the token of a call that waits for a process
ROWS = 8  # of a joint pass at most, where processes share the passes
SMALL = 1024  # positions of a latent, up to which a study computes with processes instead of threads
TRAINED = 20  # bytes of a weight while it is trained: float32 copy and gradient, AdamW's moments, the difference
BESIDE = 2**30  # bytes of a process besides the base and what is trained of it


def single_threaded(base: Base) -> bool:
    """Whether a study on this base computes with one thread in every process.

    This depends on the base alone, so results of the study depend neither on the number of cores nor on that of
    processes. `python -m benchmarks.workers` compares both ways on the embedded base. Larger latents, whose products
    occupy more threads, keep them.
    """
    positions = (base.resolution // base.pixels) ** 2
    return base.device.type == "cpu" and positions <= SMALL


def rows_of_a_pass(base: Base) -> int:
    """The most rows of a joint training pass. Where processes compute, passes are smaller, so that none has to wait.

    With one thread a row of a large pass takes as long as one of a small pass (docs/performance.md).
    """
    rows = base.description.sampling.rows
    return min(rows, ROWS) if single_threaded(base) else rows


def affordable(base: Base, most: int, other: Base | None = None) -> int:
    """How many processes, 1 to `most`, the free memory holds. Each trains this base, and has the other one open."""
    weights = sum(parameter.numel() for module in base.modules().values() for parameter in module.parameters())
    each = base.size + TRAINED * weights + (other.size if other else 0) + BESIDE
    return max(1, min(most, int(psutil.virtual_memory().available // each)))


def prepare() -> None:
    """Start the fork server. It loads the libraries while other work goes on.

    SIGINT is blocked in the fork server and its children. Ctrl-C reaches all processes of a terminal, and theirs would
    print tracebacks. They end when this process ends.
    """
    multiprocessing.get_context("forkserver").set_forkserver_preload(PRELOADED)
    resource_tracker.ensure_running()  # first, since it would unblock the signal
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        forkserver.ensure_running()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextmanager
def started(target: Callable[..., None], *given: object) -> Iterator[Connection]:
    """Run `target(connection, *given)` in a process of its own, and yield our end of the connection.

    The connection ends (`EOFError`) when the process does. A process that is still there when the block ends by an
    error is killed; else its end is waited for.
    """
    prepare()
    context = multiprocessing.get_context("forkserver")
    ours, theirs = context.Pipe()
    process = context.Process(target=target, args=(theirs, *given), daemon=True)
    with _unknown_script():
        process.start()
    theirs.close()
    try:
        yield ours
    except BaseException:
        process.kill()
        raise
    finally:
        ours.close()
        process.join()


@contextmanager
def _unknown_script() -> Iterator[None]:
    """Inside the block nobody knows where this program began, so that a new process does not run the user's script."""
    main = vars(sys.modules["__main__"])
    known: dict[str, Any] = {name: main[name] for name in ("__file__", "__spec__") if name in main}
    main.update(dict.fromkeys(known))
    try:
        yield
    finally:
        main.update(known)


@contextmanager
def threads(count: int) -> Iterator[None]:
    """Let torch compute with so many threads inside the block."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
