"""What the studies of dilution measured, read from their records, and put together over files and training seeds."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recipes.dilution import records
from triptych.dilution.measure import Kept, together
from triptych.dilution.response import Response
from triptych.verdict.intervals import Interval


@dataclass(frozen=True)
class Study:
    """One study: a kind of file, and a training seed."""

    kind: str
    seed: int
    told: dict[str, Any]

    @classmethod
    def read(cls, folder: Path, kind: str) -> list[Study]:
        """The studies of one kind."""
        return [cls(kind, seed, told) for seed, told in records.read(folder, kind).items()]

    @property
    def learned(self) -> list[str]:
        return [file["name"] for file in self.told["files"] if file["learned"]]

    def kept(self, mix: str, file: str) -> Interval | None:
        rows = [row for row in self.told["retention"] if (row["mix"], row["file"]) == (mix, file)]
        return interval(rows[0]) if rows else None

    def mixes(self, axis: str, way: str = "") -> list[tuple[float, str]]:
        """Value on the axis, and the name of the mix."""
        return [
            (mix["value"], mix["name"]) for mix in self.told["mixes"] if mix["axis"] == axis and way in ("", mix["way"])
        ]

    def steady(self) -> list[str]:
        """Those of the first two files that learned: they are in every mix of the study."""
        return [file["name"] for file in self.told["files"][:2] if file["learned"]]

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

    def pictures(self, file: str) -> dict[str, NDArray[np.float64]]:
        """Row -> the headline figure of each picture of a file, in one order; NaN where there is none."""
        found = next(told for told in self.told["files"] if told["name"] == file)
        return {row: np.array(values, float) for row, values in found["pictures"].items()}


def interval(row: dict[str, Any]) -> Interval:
    low, high = (row[end] if row[end] is not None else sign * float("inf") for end, sign in (("low", -1), ("high", 1)))
    return Interval(row["value"], low, high, row["n"])


def lost(kept: Interval) -> Interval:
    return Interval(1 - kept.value, 1 - kept.high, 1 - kept.low, kept.n)


def mean_lost(found: Iterable[Interval | None]) -> Interval | None:
    known = [lost(one) for one in found if one]
    return together(known) if known else None


def along(studies: Sequence[Study], axis: str, way: str) -> list[tuple[float, Interval]]:
    """Value on the axis, and the mean loss over seeds and the files that are in every mix."""
    found = []
    files = [(study, name) for study in studies for name in study.steady()]
    mixes = studies[0].mixes(axis, way)
    for value in dict.fromkeys(value for value, _ in mixes):
        names = [mix for of, mix in mixes if of == value]
        mean = mean_lost(study.kept(mix, name) for study, name in files for mix in names)
        if mean:
            found.append((value, mean))
    return found


def per_model(points: Sequence[tuple[float, Interval]]) -> list[tuple[float, float, Interval]]:
    """From so many files to so many: the loss that each added file brings.

    The intervals take both ends as independent, so they are too wide: the pictures are of the same prompts and seeds.
    """
    found = [(1.0, Interval(0.0, 0.0, 0.0, 0)), *points]
    steps = []
    for (before, low), (after, high) in pairwise(found):
        half = ((low.high - low.low) ** 2 + (high.high - high.low) ** 2) ** 0.5 / 2
        more, each = high.value - low.value, 1 / (after - before)
        steps.append((before, after, Interval(each * more, each * (more - half), each * (more + half), high.n)))
    return steps
