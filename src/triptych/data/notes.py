"""Notes: one line for each thing that the user gave and that is not used as they would expect."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..errors import printable
from ..units import counted

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True)
class Note:
    """A file, or one line of it, with the reason why it is not used as the user would expect."""

    path: Path
    reason: str
    line: int = 0  # counted from 1; 0: the whole file

    @property
    def place(self) -> str:
        return f"{self.path.name} line {self.line}" if self.line else self.path.name


def lines(notes: Iterable[Note]) -> list[str]:
    """A line for each reason, with all places that it applies to, in order of appearance."""
    by_reason: dict[str, list[str]] = {}
    for note in notes:
        by_reason.setdefault(note.reason, []).append(note.place)
    return [printable(f"{', '.join(places)}: {reason}") for reason, places in by_reason.items()]


def total(count: int) -> str:
    """The last line of a run: how many things were not used as given; "" if there are none."""
    if not count:
        return ""
    return f"not used as given: {counted(count, 'thing')}; see the line{'' if count == 1 else 's'} at the start"
