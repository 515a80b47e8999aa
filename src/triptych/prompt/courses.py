"""How the strength of a file goes over the steps of a picture: windows, ramps, and tags inside schedules.

In text: `0.8` is a strength; `0.8@0.2-0.7` is 0.8 from the share 0.2 of the steps to 0.7, and 0 outside; `0@0,1@0.5`
goes in a straight line from 0 at the beginning to 1 at half of the steps, and stays there.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import Protocol

from ..errors import TriptychError, shown
from .numbers import number


class Course(Protocol):
    """A factor on a strength at each step. Equal courses have the same factors."""

    def __call__(self, step: int, steps: int) -> float:
        """The factor at a step, counted from 0."""
        ...


@dataclass(frozen=True)
class Window:
    """1 from `begins` up to `ends`, and 0 outside: shares of the steps, or, with `counted`, numbers of steps."""

    begins: float = 0.0
    ends: float = 1.0
    counted: bool = False

    def __call__(self, step: int, steps: int) -> float:
        return float(self.begins <= (step if self.counted else step / steps) < self.ends)

    def __str__(self) -> str:
        counted = " steps" if self.counted else ""
        return f"1@{self.begins:g}-{self.ends:g}{counted}"


@dataclass(frozen=True)
class Ramp:
    """Straight lines between `points`, which are pairs of a share of the steps and a factor, in their order."""

    points: tuple[tuple[float, float], ...]

    def __call__(self, step: int, steps: int) -> float:
        at = step / steps
        for (begin, low), (end, high) in pairwise(self.points):
            if begin <= at < end:
                return low + (high - low) * (at - begin) / (end - begin)
        return self.points[0 if at < self.points[0][0] else -1][1]


@dataclass(frozen=True)
class Shown:
    """1 at the steps at which the schedules of a text leave the letter `mark` in it, and 0 at others."""

    text: str
    mark: str
    late: bool = False

    def __call__(self, step: int, steps: int) -> float:
        return float(self.mark in _text_at(self.text, step, steps, self.late))

    def __str__(self) -> str:
        return f"{self.mark} in {self.text}"


@dataclass(frozen=True)
class Both:
    """The product of two courses."""

    first: Course
    other: Course

    def __call__(self, step: int, steps: int) -> float:
        return self.first(step, steps) * self.other(step, steps)


@lru_cache(maxsize=4096)
def _text_at(text: str, step: int, steps: int, late: bool) -> str:
    from .schedules import read_schedule

    return read_schedule(text, steps, late=late).text(step + 1)


def product(first: Course | None, other: Course | None) -> Course | None:
    """Both at once; None where there is neither."""
    return Both(first, other) if first and other else first or other


def read_course(text: str, where: str) -> tuple[float, Course | None]:
    """A strength and its course.

    Raises:
        TriptychError: a number is none or out of range, or the shares of the steps are not in order.
    """
    pieces = [piece.partition("@") for piece in text.split(",")]
    if len(pieces) == 1 and not pieces[0][1]:
        return number(text, where), None
    if not all(at for _, at, _ in pieces):
        raise TriptychError(
            f"each strength of {shown(text)!r} in {shown(where)} needs its share of the steps, as 1@0.5"
        )
    if len(pieces) == 1 and "-" in pieces[0][2]:
        strength, _, when = pieces[0]
        begins, _, ends = when.partition("-")
        window = Window(_share(begins, where), _share(ends, where))
        if window.begins >= window.ends:
            raise TriptychError(f"{shown(text)!r} in {shown(where)} ends before it begins")
        return number(strength, where), window
    points = tuple((_share(when, where), number(strength, where)) for strength, _, when in pieces)
    if any(point[0] >= other[0] for point, other in pairwise(points)):
        raise TriptychError(f"the shares of the steps in {shown(text)!r} in {shown(where)} do not rise")
    return 1.0, Ramp(points)


def _share(text: str, where: str) -> float:
    value = number(text, where)
    if not 0 <= value <= 1:
        raise TriptychError(f"{shown(where)}: a share of the steps is a number from 0 to 1, not {text.strip()}")
    return value
