"""Worker processes, which live as long as a study and share the tasks of its stages: trainings, sheets of pictures.

A worker opens the base for itself, once, and computes with one thread. What a task makes lies on disk, where this
process and the next run find it. So results do not depend on the number of workers, and without them the same tasks
run one after another.
"""

from __future__ import annotations

import traceback
import warnings
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from multiprocessing.reduction import ForkingPickler
from queue import SimpleQueue
from threading import Thread
from typing import Any

import torch

from ..base import Base
from ..cancel import Cancel, Cancelled, check, deferred_interrupt
from ..errors import Remedy, TriptychError, first_line
from ..plugins import Plugins
from .processes import WAIT, affordable, prepare, single_threaded, started, threads
from .progress import Progress

END = b""  # in place of a task
KILLED = "a process of the study was killed, perhaps because memory ran out; what was finished is kept"


@dataclass(frozen=True)
class Task:
    """A part of a stage that depends on no other: `call(context, *given)` writes what it makes to disk.

    `call` is a function of a module. `size` tells which of the tasks of a stage take longest.
    """

    call: Callable[..., None]
    given: tuple[Any, ...]
    size: float


def share(workers: Workers | None, tasks: Sequence[Task], context: Any, progress: Progress) -> None:
    """Run the tasks of a stage, by workers; without them in this process with this context, in their order.

    Raises:
        TriptychError: as the tasks do; or a worker was killed.
        Cancelled: the token is set, or Ctrl-C was pressed. Workers save what they have before.
    """
    if workers and len(tasks) > 1:
        workers.run(tasks, progress)
        return
    for task in tasks:
        check()
        task.call(context, *task.given)


# --- what a worker says -----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Ready:
    """It asks for a task."""


@dataclass(frozen=True)
class Progressed:
    """It calls the method `name` of the progress."""

    name: str
    given: tuple[Any, ...]


@dataclass(frozen=True)
class Warned:
    """A warning, and where it comes from."""

    warning: Warning
    file: str
    line: int


@dataclass(frozen=True)
class Ended:
    """Its last message. `error`: why it ended, where a task failed."""

    error: Exception | None


# --- this process -----------------------------------------------------------------------------------------------


@contextmanager
def workers_on(
    base: Base,
    progress: Progress,
    opened: Callable[..., Any],
    *given: Any,
    other: Callable[[], Base | None] = lambda: None,
) -> Iterator[Workers | None]:
    """Yield workers, as many as torch would take threads and as the memory holds; None where they are not worth it.

    Where they are worth it, torch computes with one thread inside the block, in this process too. At its end the
    workers end; after an error they are killed.

    Args:
        opened: `opened(progress, *given)` gives the context of a worker's tasks; it is a function of a module.
        other: gives a base that workers open, too. It is asked for only where there can be workers.
    """
    if not single_threaded(base):
        yield None
        return
    count, most = 1, torch.get_num_threads()
    if Plugins.all_are_installed():
        count = affordable(base, most, other())
        if count < most:
            progress.note(f"{count} of {most} processes compute: there is no memory for more")
    if count > 1:
        prepare()
    with threads(1), ExitStack() as stack:
        yield Workers(count, opened, given, stack) if count > 1 else None


@dataclass
class Workers:
    """At most so many workers, for the tasks of all stages. Each begins when it is first needed."""

    most: int
    opened: Callable[..., Any]
    given: tuple[Any, ...]
    stack: ExitStack  # that ends them
    _idle: list[Connection] = field(default_factory=list)  # they have asked for a task
    _busy: list[Connection] = field(default_factory=list)
    _warned: dict[Any, Any] = field(default_factory=dict)  # so that what several workers warn of is shown once
    _error: Exception | None = None
    _ending: bool = False

    def run(self, tasks: Sequence[Task], progress: Progress) -> None:
        """Run all tasks, the longest first; who is done with one gets the next. If one fails, all workers end."""
        left = deque(sorted(tasks, key=lambda task: -task.size))
        self._error, self._ending = None, False
        for _ in range(min(self.most, len(left)) - len(self._idle)):
            self._busy.append(self.stack.enter_context(started(_serve, self.opened, *self.given)))
        with deferred_interrupt() as cancel:
            while left or self._busy:
                while left and self._idle:
                    self._busy.append(worker := self._idle.pop())
                    _send(worker, ForkingPickler.dumps(left.popleft()))
                heard = wait(self._busy, WAIT)
                for worker in [each for each in self._busy if each in heard]:
                    self._hear(worker, progress)
                if (self._error or cancel.is_cancelled) and not self._ending:
                    left.clear()
                    self._end()
            cancel.check()
        if self._error:
            raise self._error

    def _end(self) -> None:
        """Have all workers save what they have, and end."""
        self._ending = True
        self._busy += self._idle
        self._idle.clear()
        for worker in self._busy:
            _send(worker, END)

    def _hear(self, worker: Connection, progress: Progress) -> None:
        """Take one message of a worker."""
        try:
            message = worker.recv()
        except (EOFError, OSError):
            message = Ended(TriptychError(KILLED, Remedy.AGAIN))
        match message:
            case Ready() if not self._ending:
                self._busy.remove(worker)
                self._idle.append(worker)
            case Warned(warning, file, line):
                warnings.warn_explicit(warning, type(warning), file, line, registry=self._warned)
            case Ended(error):
                self._busy.remove(worker)
                self._error = self._error or error
            case Progressed(what, given):
                getattr(progress, what)(*given)


def _send(worker: Connection, task: bytes | memoryview) -> None:
    """Give a worker a task, or have it end."""
    with suppress(OSError):  # it was killed, which is heard next
        worker.send_bytes(task)


# --- the process of a worker ------------------------------------------------------------------------------------


class Told:
    """The progress of a worker, and its warnings: the process that it works for shows them."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection

    def stage(self, name: str, total: int) -> None:
        self.say(Progressed("stage", (name, total)))

    def advance(self, units: int = 1) -> None:
        self.say(Progressed("advance", (units,)))

    def note(self, sentence: str) -> None:
        self.say(Progressed("note", (sentence,)))

    def row(self, *told: Any) -> None:
        self.say(Progressed("row", told))

    def warned(
        self, message: Warning | str, category: type[Warning], filename: str, lineno: int, file: object = None,
        line: str | None = None,
    ) -> None:  # fmt: skip
        self.say(Warned(message if isinstance(message, Warning) else category(message), filename, lineno))

    def say(self, message: Ready | Progressed | Warned | Ended) -> None:
        with suppress(OSError):  # nobody hears it any more; the token is set, so that what is at work is saved
            self.connection.send(message)


def _serve(connection: Connection, opened: Callable[..., Any], *given: Any) -> None:
    """Run the tasks that come, until there are no more, one fails, or the process at the other end is gone."""
    cancel, tasks, told = Cancel(), SimpleQueue[bytes](), Told(connection)
    Thread(target=_listen, args=(connection, cancel, tasks), daemon=True).start()
    warnings.showwarning = told.warned
    error: Exception | None = None
    with cancel.applied(), threads(1):
        try:
            context = opened(told, *given)
            told.say(Ready())
            while sent := tasks.get():
                task: Task = ForkingPickler.loads(sent)
                task.call(context, *task.given)
                told.say(Ready())
        except Cancelled:
            pass
        except Exception as raised:
            error = _sendable(raised)
    told.say(Ended(error))


def _listen(connection: Connection, cancel: Cancel, tasks: SimpleQueue[bytes]) -> None:
    """Take tasks as they come. At their end, or when nobody is left to send one, cancel what is at work."""
    with suppress(EOFError, OSError):
        while task := connection.recv_bytes():
            tasks.put(task)
    cancel.cancel()
    tasks.put(END)


def _sendable(error: Exception) -> Exception:
    """The error with its traceback, which does not travel; one of its text where it does not travel itself."""
    error.add_note(traceback.format_exc())
    try:
        ForkingPickler.loads(ForkingPickler.dumps(error))
    except Exception:
        return RuntimeError(f"{first_line(error)}\n{traceback.format_exc()}")
    return error
