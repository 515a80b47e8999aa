"""Ctrl-C during a training: the first one takes effect at the end of the step, the second one at once."""

from __future__ import annotations

import contextlib
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType


class Stopped(KeyboardInterrupt):
    """A training was stopped by Ctrl-C and can be resumed. `step` of `last` steps are done."""

    def __init__(self, step: int, last: int) -> None:
        super().__init__(f"stopped after step {step} of {last}, which is saved")
        self.step, self.last = step, last


@contextmanager
def deferred_interrupt() -> Iterator[Callable[[], bool]]:
    """Defer Ctrl-C inside the block, and yield a function that returns whether it was pressed. A second one raises.

    It applies only where Ctrl-C would raise `KeyboardInterrupt`: in the main thread, with Python's own handler.
    """
    pressed = threading.Event()
    before = signal.getsignal(signal.SIGINT)
    if threading.current_thread() is not threading.main_thread() or before is not signal.default_int_handler:
        yield pressed.is_set
        return

    def handle(number: int, frame: FrameType | None) -> None:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        pressed.set()
        with contextlib.suppress(RuntimeError):  # Ctrl-C came while a line was being printed
            print("stopping when this step is done and saved; Ctrl-C again stops at once", file=sys.stderr)

    signal.signal(signal.SIGINT, handle)
    try:
        yield pressed.is_set
    finally:
        signal.signal(signal.SIGINT, before)
