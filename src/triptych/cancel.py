"""Cancelling a call: a token that another thread, or Ctrl-C, sets, and that long work checks between its units.

The token of a call holds for its thread, so that what lies between need not pass it on.
"""

from __future__ import annotations

import contextlib
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from types import FrameType


class Cancelled(BaseException):
    """A call was cancelled. What it had finished is kept.

    It is no `Exception`, so that code that records a failure and goes on does not take it for one.
    """

    def __init__(self, sentence: str = "cancelled") -> None:
        super().__init__(sentence)


class Cancel:
    """A token to cancel one call, from any thread. It cannot be used again for another call."""

    def __init__(self) -> None:
        self._event = threading.Event()

    def cancel(self) -> None:
        """Ask the call to end. It raises `Cancelled` as soon as its present unit of work is done."""
        self._event.set()

    @property
    def is_cancelled(self) -> bool:
        return self._event.is_set()

    def check(self) -> None:
        """
        Raises:
            Cancelled: the token is set.
        """
        if self.is_cancelled:
            raise Cancelled

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Make it the token of all that this thread calls inside the block."""
        before = _CURRENT.set(self)
        try:
            yield
        finally:
            _CURRENT.reset(before)


_CURRENT: ContextVar[Cancel | None] = ContextVar("cancel", default=None)


def current() -> Cancel:
    """The token of this call; a new one where none is applied."""
    return _CURRENT.get() or Cancel()


def check() -> None:
    """
    Raises:
        Cancelled: the token of this call is set.
    """
    current().check()


@contextmanager
def deferred_interrupt() -> Iterator[Cancel]:
    """Let Ctrl-C set the token of this call inside the block, and yield the token. A second Ctrl-C raises at once.

    It applies only where Ctrl-C would raise `KeyboardInterrupt`: in the main thread, with Python's own handler.
    """
    token, before = current(), signal.getsignal(signal.SIGINT)
    if threading.current_thread() is not threading.main_thread() or before is not signal.default_int_handler:
        yield token
        return

    def handle(number: int, frame: FrameType | None) -> None:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        token.cancel()
        with contextlib.suppress(RuntimeError):  # Ctrl-C came while a line was being printed
            print("stopping when this step is done and saved; Ctrl-C again stops at once", file=sys.stderr)

    signal.signal(signal.SIGINT, handle)
    try:
        yield token
    finally:
        signal.signal(signal.SIGINT, before)
