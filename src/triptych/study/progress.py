"""How far a study or a training has come, for whatever shows it."""

from collections.abc import Callable
from typing import Protocol


class Progress(Protocol):
    def stage(self, name: str, total: int) -> None:
        """A stage begins that has `total` units of work."""
        ...

    def advance(self, units: int = 1) -> None:
        """Some of the present stage's work is done."""
        ...

    def note(self, sentence: str) -> None:
        """Something that the user should know."""
        ...


class Silent:
    """Shows nothing."""

    def stage(self, name: str, total: int) -> None: ...
    def advance(self, units: int = 1) -> None: ...
    def note(self, sentence: str) -> None: ...


def steps_of(progress: Progress) -> Callable[[int, int], None]:
    """What a training loop calls with the steps done and the steps in all; a resumed one begins where it was."""
    before = 0

    def stepped(done: int, _: int) -> None:
        nonlocal before
        progress.advance(done - before)
        before = done

    return stepped
