"""A point: the strength of a trained method, and the moment of its training, at which it is sampled."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ..prompt.courses import Course


@dataclass(frozen=True)
class Point:
    """For a combination, the strength multiplies those of its parts, and the moments are theirs."""

    strength: float = 1.0
    moment: float = 1.0  # part of the training, above 0 to 1


FULL = Point()


@dataclass(frozen=True)
class Use:
    """A file to attach, its strength, and how that goes over the steps.

    `source` identifies its content in the keys of sheets.
    """

    path: Path
    source: str
    strength: float = 1.0
    course: Course | None = None

    @property
    def label(self) -> str:
        strength = "" if self.strength == 1 else f"@{self.strength:g}"
        return f"{self.source}{strength}{'' if self.course is None else repr(self.course)}"
