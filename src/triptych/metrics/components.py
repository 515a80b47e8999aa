"""Prompt fidelity by component: how high the right thing ranks, between chance and what real pictures reach.

A judge names, of each picture and each component that its prompt asks for (thing, background, place, size, ...), the
rank of the right value among all that there are. The grade is the reciprocal rank (as in Voorhees 1999, TREC-8): 1
where the right one comes first, 0.5 where it comes second. `Scale` then puts it between chance (0) and what the
judge reads off real pictures (1), since a judge of photographs may read real drawings badly, and what it cannot read
off a real picture cannot be asked of a sampled one.
"""

from __future__ import annotations

from dataclasses import dataclass
from statistics import fmean
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from . import Shown

BLIND = 0.2  # part of the way from chance to perfect below which real pictures leave a component unread
CLIP_WEIGHT = 2.5  # of CLIPScore (arXiv:2104.08718), which brings the scores of CLIP ViT-B/32 between 0 and 1
PREFIX = "prompt_"  # of the names of the components' scores

Grades = dict[str, float]  # component -> reciprocal rank, 0..1


class Judge(Protocol):
    """Reads pictures."""

    @property
    def chance(self) -> Mapping[str, float]:
        """Component -> the mean grade of a picture that has nothing to do with its prompt, 0..1."""

    def drawn(self, samples: Sequence[Shown]) -> list[Grades]:
        """Of each sampled picture, the grade of every component that its prompt asks for."""

    def captioned(self) -> dict[int, Grades]:
        """Position of a real picture with a caption -> its grades, asked by the caption."""

    def rendered(self) -> list[Grades]:
        """Grades of real drawings that were put into known surroundings; none where that cannot be done."""


@dataclass(frozen=True)
class Scale:
    """Of one component: the grade of chance, and that of real pictures."""

    chance: float
    real: float

    @property
    def read(self) -> float:
        """How well real pictures are read: 0 by chance, 1 always right."""
        return (self.real - self.chance) / (1 - self.chance)

    @property
    def blind(self) -> bool:
        return self.read < BLIND

    def of(self, grade: float) -> float:
        """0 (no better than chance) to 1 (as in real pictures, or better)."""
        return min(1.0, max(0.0, (grade - self.chance) / (self.real - self.chance)))


def grade(rank: int) -> float:
    """The reciprocal rank; `rank` is 1 or more."""
    return 1 / rank


def chance(count: int) -> float:
    """The mean reciprocal rank of one among `count` by chance."""
    return fmean(1 / rank for rank in range(1, count + 1))


def rank(right: str, distances: Mapping[str, float]) -> int:
    """The place of `right`, 1 for the nearest; what is as near as it does not come before it."""
    return 1 + sum(distance < distances[right] for distance in distances.values())


def scales(judge: Judge, base: Iterable[Grades]) -> dict[str, Scale]:
    """Of every component that is asked for anywhere.

    Real drawings in known surroundings tell most, then real pictures asked by their captions. Where neither tells of a
    component, what the bare base draws of it stands for what can be read.
    """
    found: dict[str, Scale] = {}
    for source in (judge.rendered(), judge.captioned().values(), base):
        grades: dict[str, list[float]] = {}
        for each in source:
            for component, value in each.items():
                grades.setdefault(component, []).append(value)
        new = {name: Scale(judge.chance[name], fmean(values)) for name, values in grades.items() if name not in found}
        found |= new
    return found
