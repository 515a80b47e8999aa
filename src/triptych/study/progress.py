"""How far a study has come, told to whoever shows it."""

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
