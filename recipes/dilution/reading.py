"""What the studies of dilution measured, read from their records, and put together over files and training seeds."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from math import nan
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recipes.dilution import records
from triptych.dilution.measure import Kept, share
from triptych.dilution.response import Response
from triptych.verdict.intervals import ALPHA, Estimate, Interval, Part
from triptych.verdict.table import Table

Row = str  # "base", "alone", or the name of a mix
Concept = Sequence[tuple["Study", str]]  # each study of it, and its file there


@dataclass(frozen=True)
class Study:
    """One study: a kind of file, and a training seed."""

    kind: str
    seed: int
    told: dict[str, Any]

    @classmethod
    def read(cls, folder: Path, kind: str) -> list[list[Study]]:
        """The studies of one kind, those together whose files were trained alike."""
        found: dict[str, list[Study]] = {}
        for seed, told in records.read(folder, kind).items():
            study = cls(kind, seed, told)
            found.setdefault(study.trained, []).append(study)
        return list(found.values())

    @property
    def trained(self) -> str:
        return f"{self.told['trained']['steps']} steps at {self.told['trained']['lr']:g}"

    @property
    def learned(self) -> list[str]:
        return [file["name"] for file in self.told["files"] if file["learned"]]

    @property
    def mixed(self) -> list[str]:
        """The names of all mixes, and of what is measured beside them."""
        return [mix["name"] for mix in self.told["mixes"]]

    def mixes(self, axis: str, way: str = "") -> list[tuple[float, str]]:
        """Value on the axis, and the name of the mix."""
        return [
            (mix["value"], mix["name"]) for mix in self.told["mixes"] if mix["axis"] == axis and way in ("", mix["way"])
        ]

    @property
    def weights(self) -> dict[str, dict[str, float]]:
        """Mix -> name of each file in it -> its weight."""
        mixed = [mix for mix in self.told["mixes"] if mix["axis"] in ("count", "ratio", "generation")]
        return {mix["name"]: {name: weight for name, weight in mix["weights"].items() if weight} for mix in mixed}

    @property
    def rows(self) -> list[Kept]:
        """Every file in every mix."""
        return [
            Kept(row["mix"], row["file"], row["weight"], interval(row), row["both"],
                 Response(row["along"], row["across"]))
            for row in self.told["retention"]
            if row["mix"] in self.weights
        ]  # fmt: skip

    def pictures(self, file: str) -> dict[Row, NDArray[np.float64]]:
        """The headline figure of each picture of a file, in one order; NaN where there is none."""
        found = next(told for told in self.told["files"] if told["name"] == file)
        return {row: np.array(values, float) for row, values in found["pictures"].items()}

    def share(self, file: str, weights: Mapping[Row, float]) -> Estimate | None:
        """`measure.share` from the record's pictures; None where a row was not measured, or nothing was learned."""
        cells = {row: values[None, :, None] for row, values in self.pictures(file).items()}
        count = self.told["pictures_a_row"]
        table = Table(cells, list(map(str, range(count))), np.full((count, 1), -1))
        return share(table, weights) if file in self.learned else None

    def kept(self, row: Row, file: str) -> Estimate | None:
        """The retention of a file."""
        return self.share(file, {row: 1.0, "base": -1.0})

    def lost(self, row: Row, file: str) -> Estimate | None:
        """1 less the retention of a file."""
        return self.share(file, {"alone": 1.0, row: -1.0})


def interval(row: dict[str, Any]) -> Interval:
    low, high = (row[end] if row[end] is not None else sign * float("inf") for end, sign in (("low", -1), ("high", 1)))
    return Interval(row["value"], low, high, row["n"])


def combined(concepts: Sequence[Sequence[Estimate]]) -> Interval:
    """The mean over concepts of the means over their trainings, and the wider one of two intervals.

    One is that of the pictures, for these very files. The other is that of the trainings, whose variance is pooled over
    the concepts; it is not known where each was trained once.
    """
    counts = [len(own) for own in concepts]
    means = [np.mean([each.value for each in own]) for own in concepts]
    parts = [
        Part(part.source, part.variance / (len(own) * len(concepts)) ** 2, part.freedom)
        for own in concepts for each in own for part in each.parts
    ]  # fmt: skip
    value, number = float(np.mean(means)), sum(counts)
    half = Estimate(value, number, tuple(parts)).half(ALPHA)
    if freedom := number - len(concepts):
        squares = sum((each.value - mean) ** 2 for own, mean in zip(concepts, means, strict=True) for each in own)
        variance = float(squares) / freedom * sum(1 / count for count in counts) / len(concepts) ** 2
        half = max(half, Estimate(value, number, (Part("trainings", variance, freedom),)).half(ALPHA))
    return Interval(value, value - half, value + half, number)


def pooled(concepts: Sequence[Concept], asked: Callable[[Study, str], Estimate | None]) -> Interval | None:
    """What is asked of each training of each concept, `combined`; None where nothing is known."""
    each = ([known for study, file in own if (known := asked(study, file))] for own in concepts)
    found = [own for own in each if own]
    return combined(found) if found else None


def steady(studies: Sequence[Study]) -> list[Concept]:
    """The first two files in every study: they are in every mix."""
    names = [file["name"] for file in studies[0].told["files"][:2]]
    return [[(study, name) for study in studies] for name in names]


def difference(concepts: Sequence[Concept], weights: Mapping[Row, float]) -> Interval | None:
    """The weighted sum of rows, `combined`; None where nothing is known."""
    return pooled(concepts, lambda study, file: study.share(file, weights))


def along(studies: Sequence[Study], axis: str, way: str = "") -> list[tuple[float, Interval]]:
    """Value on the axis, and the mean loss of the files that are in every mix, over all trainings."""
    mixes: dict[float, list[str]] = {}
    for value, mix in studies[0].mixes(axis, way):
        mixes.setdefault(value, []).append(mix)

    def lost(study: Study, file: str, names: Sequence[str]) -> Estimate | None:
        return next(filter(None, (study.lost(mix, file) for mix in names)), None)

    found = ((value, pooled(steady(studies), partial(lost, names=names))) for value, names in mixes.items())
    return [(value, mean) for value, mean in found if mean]


def per_model(studies: Sequence[Study], way: str) -> list[tuple[float, float, Interval]]:
    """From so many files to so many: the loss that each added file brings, by the same pictures."""
    steps = []
    for (before, less), (after, more) in pairwise([(1.0, "alone"), *studies[0].mixes("count", way)]):
        each = 1 / (after - before)
        if mean := difference(steady(studies), {less: each, more: -each}):
            steps.append((before, after, mean))
    return steps


def least(study: Study, row: Row) -> tuple[str, Estimate] | None:
    """The file that a row keeps least of, among those that learned, and its retention."""
    found = [(file, kept) for file in study.learned if (kept := study.kept(row, file))]
    return min(found, key=lambda pair: pair[1].value, default=None)


def least_more(study: Study, row: Row, other: Row) -> Interval | None:
    """How much more a row keeps of the file that it keeps least of than another row does of its own."""
    mine, its = least(study, row), least(study, other)
    if mine is None or its is None:
        return None
    if mine[0] == its[0]:
        return difference([[(study, mine[0])]], {row: 1.0, other: -1.0})
    (_, kept), (_, less) = mine, its
    return Estimate(kept.value - less.value, min(kept.n, less.n), (*kept.parts, *less.parts)).interval()


def preserved(studies: Sequence[Study], row: Row) -> float:
    """The mean base preservation of a row; not a number where it was not measured."""
    found = [each["value"] for study in studies for each in study.told["preservation"] if each["row"] == row]
    return fmean(found) if found else nan
