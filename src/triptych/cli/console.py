"""The display of a running command on stderr: stages with a progress bar and the time left, notes as lines."""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from rich.live import Live
    from rich.progress import Progress, TaskID


class Console:
    """Shows the progress of a study or a training. Without a terminal it prints one line per stage."""

    def __init__(self) -> None:
        from rich.console import Console as Rich
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
        from rich.progress import TimeRemainingColumn as Left

        self.rich = Rich(stderr=True, highlight=False)
        self.live = self.rich.is_terminal
        columns = (TextColumn("{task.description:<20}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        self.bars = Progress(*columns, TextColumn("left"), Left(), console=self.rich)
        self.display: Progress | Live = self.bars
        self.task: TaskID | None = None
        self.name, self.began = "", 0.0

    def __enter__(self) -> Self:
        if self.live:
            self.display.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self._end()
        if self.live:
            self.display.stop()

    def stage(self, name: str, total: int) -> None:
        self._end()
        self.name, self.began = name, time.monotonic()
        if self.live:
            self.task = self.bars.add_task(name, total=total)

    def advance(self, units: int = 1) -> None:
        if self.task is not None:
            self.bars.advance(self.task, units)

    def note(self, sentence: str) -> None:
        self.rich.print(sentence, markup=False, emoji=False, soft_wrap=True)

    def _end(self) -> None:
        if self.task is not None:
            self.bars.update(self.task, completed=self.bars.tasks[self.task].total)
        elif self.name and not self.live:
            print(f"{self.name}: {time.monotonic() - self.began:.1f} s", file=sys.stderr, flush=True)
        self.name, self.task = "", None
