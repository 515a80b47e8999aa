"""The rule by which a method's point (its strength, and the moment of its training) is chosen.

All points are tried on half of the choosing prompts. The better half of them, and full strength at the end of the
training, go on to the other prompts (successive halving). Of these the highest mean of the headline figure is chosen.
Points within a standard error of it are ties, of which the strength nearest 1 is chosen, then the latest moment.

A method whose best point is not above the bare base by the margin of a practical difference has nothing to choose: what
its points differ in is chance. It is used as it was trained.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from math import ceil, sqrt
from statistics import fmean, stdev

from ..records import PointRecord
from ..verdict import MARGINS
from .point import FULL, Point
from .together import Together
from .training import Run

Asked = tuple[str, int]  # a prompt with the class word, and a seed


@dataclass(frozen=True)
class Seen:
    """What one picture reaches: the headline figure, and what it is made of."""

    both: float
    fidelity: float
    prompt: float | None


@dataclass(frozen=True)
class Row:
    """A method or a combination: its trainings, and the points to try."""

    name: str
    members: tuple[Run | Together, ...]  # one for each training
    points: tuple[Point, ...]

    def step_at(self, moment: float) -> int:
        """The steps done at a moment; 0 for what has no steps of its own."""
        member = self.members[0]
        return member.step_at(moment) if isinstance(member, Run) and member.steps else 0


@dataclass
class Tried:
    """The pictures of one row, by point."""

    row: Row
    seen: dict[Point, dict[Asked, Seen]] = field(default_factory=dict)

    @property
    def going(self) -> list[Point]:
        """The points that are tried next: all, then the better half and full strength at the end of the training."""
        if not self.seen:
            return list(self.row.points)
        best = sorted(self.seen, key=lambda point: (-self._mean(point), *_rank(point)))
        return list(dict.fromkeys([*best[: ceil(len(best) / 2)], FULL]))

    @property
    def chosen(self) -> Point:
        """The best of the points that were tried on all prompts."""
        most = max(map(len, self.seen.values()))
        finalists = {point: pictures for point, pictures in self.seen.items() if len(pictures) == most}
        return best_of(
            {point: [picture.both for picture in pictures.values()] for point, pictures in finalists.items()}
        )

    def records(self) -> Iterator[PointRecord]:
        chosen = self.chosen
        for point, pictures in self.seen.items():
            prompts = [picture.prompt for picture in pictures.values() if picture.prompt is not None]
            yield PointRecord(
                self.row.name, point.strength, point.moment, self.row.step_at(point.moment), self._mean(point),
                fmean(picture.fidelity for picture in pictures.values()), fmean(prompts) if prompts else None,
                len(pictures), point == chosen,
            )  # fmt: skip

    def _mean(self, point: Point) -> float:
        return fmean(picture.both for picture in self.seen[point].values())


def best_of(values: Mapping[Point, Sequence[float]]) -> Point:
    """The point with the highest mean, or among its ties the strength nearest 1, then the latest moment.

    `values`: the headline figure of every point (0: the bare base), on the same pictures. A tie is within a standard
    error of the highest mean, by the paired differences. Where the highest mean is within the margin of the bare base,
    all points are ties.
    """
    top = max(values, key=lambda point: fmean(values[point]))
    if fmean(values[top]) <= MARGINS.both:
        return min(values, key=_rank)

    def ties(point: Point) -> bool:
        less = [a - b for a, b in zip(values[top], values[point], strict=True)]
        return len(less) < 2 or fmean(less) <= stdev(less) / sqrt(len(less))

    return min(filter(ties, values), key=_rank)


def _rank(point: Point) -> tuple[float, float, float]:
    return round(abs(point.strength - 1), 6), -point.moment, point.strength


def points_of(records: Sequence[PointRecord]) -> dict[str, Point]:
    """Method -> its chosen point."""
    return {record.method: Point(record.strength, record.moment) for record in records if record.chosen}
