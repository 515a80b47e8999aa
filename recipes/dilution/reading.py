"""What the studies of dilution measured, read from their files, and put together over files and training seeds."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from statistics import fmean
from typing import Any

from triptych.dilution.foretold import features, fit
from triptych.dilution.measure import together
from triptych.mixing.overlap import Overlap
from triptych.verdict.intervals import Interval


@dataclass(frozen=True)
class Study:
    """One study: a kind of file, and a training seed."""

    kind: str
    seed: int
    told: dict[str, Any]

    @classmethod
    def read(cls, out: Path, kind: str) -> list[Study]:
        """The studies of one kind that measured anything."""
        found = []
        for folder in sorted((out / kind).glob("study-*")):
            page = folder / "dilution.json"
            told = json.loads(page.read_text(encoding="utf-8")) if page.is_file() else {"retention": ()}
            if told["retention"]:
                found.append(cls(kind, int(folder.name.removeprefix("study-")), told))
        return found

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

    def rows(self) -> list[tuple[list[float], float]]:
        """What the predictor reads of every file in every mix, and the retention that was measured."""
        overlaps = {
            (row["first"], row["second"]): Overlap(**{n: v for n, v in row.items() if n not in ("first", "second")})
            for row in self.told["overlap"]
        }
        mixes = [mix for mix in self.told["mixes"] if mix["axis"] in ("count", "ratio", "generation")]
        weights = {mix["name"]: {n: w for n, w in mix["weights"].items() if w} for mix in mixes}
        rows = [row for row in self.told["retention"] if row["mix"] in weights]
        return [(features(row["file"], weights[row["mix"]], overlaps), row["value"]) for row in rows]


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


def foretold_of_another(seen: Study, other: Study) -> list[tuple[float, float]]:
    """Measured and foretold retentions of a study, by a predictor that was fitted to another one."""
    rows = seen.rows()
    coefficients = fit([read for read, _ in rows], [value for _, value in rows])
    return [
        (value, 1 - float(sum(c * f for c, f in zip(coefficients, read, strict=True)))) for read, value in other.rows()
    ]


def close(pairs: Sequence[tuple[float, float]]) -> str:
    """How many of so many are foretold within 0.10, and the mean error."""
    share = sum(abs(a - b) <= 0.1 for a, b in pairs) / len(pairs)
    return f"{share:.0%} of {len(pairs)} within 0.10, mean error {fmean(abs(a - b) for a, b in pairs):.2f}"
