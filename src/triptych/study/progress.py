"""Reports of progress from a study or a training to a display."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol


class Progress(Protocol):
    def stage(self, name: str, total: int) -> None:
        """Begin a stage with `total` units of work."""
        ...

    def advance(self, units: int = 1) -> None:
        """Report finished units of the current stage."""
        ...

    def note(self, sentence: str) -> None:
        """Show the user one sentence."""
        ...


class Silent:
    """Shows nothing."""

    def stage(self, name: str, total: int) -> None: ...
    def advance(self, units: int = 1) -> None: ...
    def note(self, sentence: str) -> None: ...


@dataclass(frozen=True)
class Within:
    """The progress of a part of the stage that is open: it begins no stage of its own.

    counted: whether its units are those of the open stage.
    """

    outer: Progress
    counted: bool = True

    def stage(self, name: str, total: int) -> None: ...

    def advance(self, units: int = 1) -> None:
        if self.counted:
            self.outer.advance(units)

    def note(self, sentence: str) -> None:
        self.outer.note(sentence)


def steps_of(progress: Progress) -> Callable[[int, int], None]:
    """The progress callback of a training loop. It takes the steps done and the total, and reports the new steps."""
    before = 0

    def stepped(done: int, _: int) -> None:
        nonlocal before
        progress.advance(done - before)
        before = done

    return stepped
