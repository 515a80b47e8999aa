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
        Crew(work, deque(sorted(tasks, key=lambda task: -task.size))).run(count)
        return
    for task in tasks:
        check()
        task.call(work, *task.given)


# --- this process -----------------------------------------------------------------------------------------------


class Crew:
    """The workers of a stage. The longest task is begun first; who is done with one asks for the next."""

    def __init__(self, work: Work, left: deque[Task]) -> None:
        self.work, self.left = work, left
        self.error: Exception | None = None
        self.warned: dict[Any, Any] = {}  # so that what several workers warn of is shown once

    def run(self, count: int) -> None:
        """Run all tasks. If one fails, the other workers save what they have and end."""
        work = self.work
        with ExitStack() as opened, deferred_interrupt() as cancel:
            given = (work.plan, work.concept, work.layout, count)
            busy = {opened.enter_context(started(_serve, *given)) for _ in range(count)}
            stopping = False
            while busy:
                if not stopping and (self.error or cancel.is_cancelled):
                    stopping = True
                    self.left.clear()
                    for connection in busy:
                        _send(connection, None)
                for connection in wait(list(busy), WAIT):
                    if not self._hear(connection):  # type: ignore[arg-type]
                        busy.remove(connection)  # type: ignore[arg-type]
            cancel.check()
        if self.error:
            raise self.error

    def _hear(self, connection: Connection) -> bool:
        """Take one message of a worker. Returns whether there will be more."""
        try:
            what, *given = connection.recv()
        except EOFError:
            what, given = "ended", [TriptychError("a process that computes a part of it was killed", Remedy.AGAIN)]
        if what == "ready":
            _send(connection, self.left.popleft() if self.left else None)
        elif what == "warned":
            warnings.warn_explicit(*given, registry=self.warned)
        elif what == "ended":
            self.error = self.error or given[0]
        else:
            getattr(self.work.progress, what)(*given)
        return what != "ended"


def _send(connection: Connection, task: Task | None) -> None:
    """Give a worker a task, or have it end."""
    with suppress(OSError):  # it was killed, which is heard of by its next message
        connection.send(task)


# --- the process of a worker ------------------------------------------------------------------------------------


class Told:
    """The progress of a worker, and its warnings: the process that it works for shows them."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection

    def stage(self, name: str, total: int) -> None:
        self.say("stage", name, total)

    def advance(self, units: int = 1) -> None:
        self.say("advance", units)

    def note(self, sentence: str) -> None:
        self.say("note", sentence)

    def warned(self, message: Warning, category: type[Warning], filename: str, lineno: int, *_: object) -> None:
        self.say("warned", message, category, filename, lineno)

    def say(self, what: str, *given: object) -> None:
        with suppress(OSError):  # nobody hears it any more; the token is set, so that what is at work is saved
            self.connection.send((what, *given))


def _serve(connection: Connection, plan: Plan, concept: Concept, layout: Layout, count: int) -> None:
    """Run the tasks that come, until there are no more, one fails, or the process at the other end is gone."""
    cancel, tasks, told = Cancel(), SimpleQueue[Task | None](), Told(connection)
    Thread(target=_listen, args=(connection, cancel, tasks), daemon=True).start()
    warnings.showwarning = told.warned  # type: ignore[assignment]
    error: Exception | None = None
    with cancel.applied(), threads(1):
        try:
            work = Work(plan, plan.place.open(), concept, layout, told, at_once=count)
            told.say("ready")
            while task := tasks.get():
                task.call(work, *task.given)
                told.say("ready")
        except Cancelled:
            pass
        except Exception as raised:
            error = _sendable(raised)
    told.say("ended", error)


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
