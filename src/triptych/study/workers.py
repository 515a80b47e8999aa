"""Worker processes, which share the tasks of a stage: the trainings, or the sheets of pictures.

A worker opens the base for itself and computes with one thread. What a task makes lies on disk, where this process and
the next run of the study find it. So results do not depend on the number of workers, and a study without them runs the
same tasks one after another.
"""

from __future__ import annotations

import traceback
import warnings
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.reduction import ForkingPickler
from queue import SimpleQueue
from threading import Thread
from typing import Any

from ..cancel import Cancel, Cancelled, check, deferred_interrupt
from ..data.concept import Concept
from ..errors import Remedy, TriptychError, first_line
from .layout import Layout
from .plan import Plan
from .processes import WAIT, started, threads
from .work import Work

KILLED = "a process of the study was killed, perhaps because memory ran out; what was finished is kept"


@dataclass(frozen=True)
class Task:
    """A part of a stage that depends on no other: `call(work, *given)` writes what it makes into the study's folder.

    `call` is a function of a module. `size` tells which of the tasks of a stage take longest.
    """

    call: Callable[..., None]
    given: tuple[Any, ...]
    size: float


def share(work: Work, tasks: Sequence[Task]) -> None:
    """Run the tasks of a stage, by as many workers as the study has; without workers in this process, in their order.

    Raises:
        TriptychError: as the tasks do; or a worker was killed.
        Cancelled: the token is set, or Ctrl-C was pressed. Workers save what they have before.
    """
    count = min(work.processes, len(tasks))
    if count > 1:
        Workers(work, deque(sorted(tasks, key=lambda task: -task.size))).run(count)
        return
    for task in tasks:
        check()
        task.call(work, *task.given)


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


class Workers:
    """The workers of a stage. The longest task is begun first; who is done with one asks for the next."""

    def __init__(self, work: Work, left: deque[Task]) -> None:
        self.work, self.left = work, left
        self.error: Exception | None = None
        self.warned: dict[Any, Any] = {}  # so that what several workers warn of is shown once

    def run(self, count: int) -> None:
        """Run all tasks. If one fails, the other workers save what they have and end."""
        given = (self.work.plan, self.work.concept, self.work.layout, count)
        with ExitStack() as opened, deferred_interrupt() as cancel:
            busy = {opened.enter_context(started(_serve, *given)) for _ in range(count)}
            stopping = False
            while busy:
                heard = wait(list(busy), WAIT)
                for connection in [each for each in busy if each in heard]:
                    if not self._hear(connection):
                        busy.remove(connection)
                if not stopping and (self.error or cancel.is_cancelled):
                    stopping = True
                    self.left.clear()
                    for connection in busy:
                        _send(connection, None)
            cancel.check()
        if self.error:
            raise self.error

    def _hear(self, connection: Connection) -> bool:
        """Take one message of a worker. Returns whether there will be more."""
        try:
            message = connection.recv()
        except (EOFError, OSError):
            message = Ended(TriptychError(KILLED, Remedy.AGAIN))
        match message:
            case Ready():
                _send(connection, self.left.popleft() if self.left else None)
            case Warned(warning, file, line):
                warnings.warn_explicit(warning, type(warning), file, line, registry=self.warned)
            case Ended(error):
                self.error = self.error or error
            case Progressed(what, given):
                getattr(self.work.progress, what)(*given)
        return not isinstance(message, Ended)


def _send(connection: Connection, task: Task | None) -> None:
    """Give a worker a task, or have it end."""
    with suppress(OSError):  # it was killed, which is heard next
        connection.send(task)


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

    def warned(
        self, message: Warning | str, category: type[Warning], filename: str, lineno: int, file: object = None,
        line: str | None = None,
    ) -> None:  # fmt: skip
        self.say(Warned(message if isinstance(message, Warning) else category(message), filename, lineno))

    def say(self, message: Ready | Progressed | Warned | Ended) -> None:
        with suppress(OSError):  # nobody hears it any more; the token is set, so that what is at work is saved
            self.connection.send(message)


def _serve(connection: Connection, plan: Plan, concept: Concept, layout: Layout, count: int) -> None:
    """Run the tasks that come, until there are no more, one fails, or the process at the other end is gone."""
    cancel, tasks, told = Cancel(), SimpleQueue[Task | None](), Told(connection)
    Thread(target=_listen, args=(connection, cancel, tasks), daemon=True).start()
    warnings.showwarning = told.warned
    error: Exception | None = None
    with cancel.applied(), threads(1):
        try:
            work = Work(plan, plan.place.open(), concept, layout, told, at_once=count)
            told.say(Ready())
            while task := tasks.get():
                task.call(work, *task.given)
                told.say(Ready())
        except Cancelled:
            pass
        except Exception as raised:
            error = _sendable(raised)
    told.say(Ended(error))


def _listen(connection: Connection, cancel: Cancel, tasks: SimpleQueue[Task | None]) -> None:
    """Take tasks as they come. At their end, or when nobody is left to send one, cancel what is at work."""
    with suppress(EOFError, OSError):
        while task := connection.recv():
            tasks.put(task)
    cancel.cancel()
    tasks.put(None)


def _sendable(error: Exception) -> Exception:
    """The error with its traceback, which does not travel; one of its text where it does not travel itself."""
    error.add_note(traceback.format_exc())
    try:
        ForkingPickler.loads(ForkingPickler.dumps(error))
    except Exception:
        return RuntimeError(f"{first_line(error)}\n{traceback.format_exc()}")
    return error
