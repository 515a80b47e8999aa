"""The result of a study of dilution as values, its sentences, and its JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

from ..mixing.overlap import Overlap
from ..verdict.intervals import Interval
from .foretold import Foretold, foretell, share_close
from .measure import File, Kept, as_numbers, together
from .plan import IN_TURN, Arm, DilutionPlan

SCHEMA = 2


@dataclass(frozen=True)
class Preserved:
    """How well the base's pictures of unrelated prompts stay under one row: 1 where they stay."""

    row: str
    value: Interval


@dataclass(frozen=True)
class Nearer:
    """How far the pictures of `file` went towards the concept of `other`: 0 as alone, 1 as the other's own."""

    arm: str
    file: str
    other: str
    value: Interval


@dataclass(frozen=True)
class More:
    """How much more of `file` one arm keeps than another: the difference of their retentions."""

    arm: str
    other: str
    file: str
    value: Interval


@dataclass(frozen=True)
class Result:
    """What was measured. `complete` is False where the time was over before all was sampled."""

    arms: tuple[Arm, ...]
    files: tuple[File, ...]
    kept: tuple[Kept, ...]
    preserved: tuple[Preserved, ...]
    nearer: tuple[Nearer, ...]
    overlaps: Mapping[tuple[str, str], Overlap]
    foretold: tuple[Foretold, ...]
    pictures: int
    complete: bool
    more: tuple[More, ...] = ()

    @classmethod
    def of(
        cls, plan: DilutionPlan, arms: Sequence[Arm], files: Sequence[File], kept: Sequence[Kept],
        preserved: Sequence[Preserved], nearer: Sequence[Nearer], overlaps: Mapping[tuple[str, str], Overlap],
        complete: bool, more: Sequence[More] = (),
    ) -> Result:  # fmt: skip
        names = [source.name for source in plan.sources]
        mixes = {arm.name: {names[i]: weight for i, weight in arm.weights if weight} for arm in arms if arm.mixed}
        foretold = foretell([row for row in kept if row.arm in mixes and row.response], mixes)
        return cls(
            tuple(arms), tuple(files), tuple(kept), tuple(preserved), tuple(nearer), overlaps, tuple(foretold),
            plan.prompts, complete, tuple(more),
        )  # fmt: skip

    def of_arm(self, arm: str) -> list[Kept]:
        return [row for row in self.kept if row.arm == arm]

    def mean(self, arm: str) -> Interval | None:
        """The mean retention over the files of an arm; None where one that learned was not measured yet."""
        rows = self.of_arm(arm)
        learned = {file.name for file in self.files if file.learned}
        wanted = next(mix for mix in self.arms if mix.name == arm).weights
        names = [self.files[i].name for i, weight in wanted if weight and self.files[i].name in learned]
        return together([row.retention for row in rows]) if rows and len(rows) == len(names) else None

    def along(self, axis: str, way: str = "") -> list[tuple[float, Interval]]:
        """Value on the axis, and mean retention."""
        found: dict[float, list[Interval]] = {}
        for arm in self.arms:
            mean = self.mean(arm.name) if arm.axis == axis and way in ("", arm.way) else None
            if mean:
                found.setdefault(arm.value, []).append(mean)
        return [(value, together(means)) for value, means in found.items()]

    @property
    def sentences(self) -> list[str]:
        """The answer first, in plain words with the intervals."""
        said = self._single_mixes()
        for way, what in (("average", "Averaged"), ("sum", "Summed at full strength")):
            found = self.along("count", way)
            parts = [f"{_lost(mean)} with {_ordinal(int(count))} file" for count, mean in found]
            if parts:
                said.append(f"{what}, each file loses {', '.join(parts)}.")
        if weak := [f"{_lost(mean)} at {1 / value:.2f}" for value, mean in self.along("weight")]:
            said.append(f"Alone, with the weight that they have in an average, the first two lose {', '.join(weak)}.")
        for arm in (arm for arm in self.arms if arm.axis == "beside"):
            if mean := self.mean(arm.name):
                said.append(f"{_beside(arm)}, each loses {_lost(mean)}.")
        if chain := self.along("generation"):
            parts = [f"{_lost(mean)} after {int(value)}" for value, mean in chain]
            said.append(f"Mixed again and again half and half, files lose on average {', '.join(parts)}.")
        said += [file.why_not for file in self.files if not file.learned]
        if self.foretold:
            share, count = share_close(self.foretold), len(self.foretold)
            said.append(f"From one step of each mix, {share:.0%} of {count} retentions were foretold within 0.10.")
        if not self.complete:
            said.append("Not all pictures are sampled yet: run the same command again to go on.")
        return said or ["Nothing could be measured yet."]

    def _single_mixes(self) -> list[str]:
        said = []
        for arm in (arm for arm in self.arms if arm.axis == "mix"):
            rows, mean = self.of_arm(arm.name), self.mean(arm.name)
            parts = [f"{row.retention.value:.2f} of {row.file} ({_span(row.retention)})" for row in rows]
            lost = f"; on average each file loses {_lost(mean)}" if mean and len(rows) > 1 else ""
            if parts:
                said.append(f"{arm.way} keeps {' and '.join(parts)}{lost}.")
        if self.more:
            names = {arm.name: arm.way for arm in self.arms}
            first, other = names[self.more[0].arm], names[self.more[0].other]
            said.append(f"compared with {other}, {first} keeps {' and '.join(map(_more, self.more))}.")
        return [sentence[0].upper() + sentence[1:] for sentence in said]

    def to_json(self) -> str:
        return json.dumps({
            "schema": SCHEMA, "complete": self.complete, "pictures_a_row": self.pictures, "sentences": self.sentences,
            "files": [{"name": f.name, "alone": f.alone, "gain": as_numbers(f.gain), "learned": f.learned,
                       "pictures": f.pictures} for f in self.files],
            "mixes": [{"name": arm.name, "axis": arm.axis, "way": arm.way, "value": arm.value,
                       "weights": {self.files[i].name: weight for i, weight in arm.weights},
                       "retention": as_numbers(mean) if (mean := self.mean(arm.name)) else None}
                      for arm in self.arms],
            "retention": [{"mix": k.arm, "file": k.file, "weight": k.weight, "both": k.both, **as_numbers(k.retention),
                           **(asdict(k.response) if k.response else {})} for k in self.kept],
            "more": [{"mix": m.arm, "than": m.other, "file": m.file, **as_numbers(m.value)} for m in self.more],
            "preservation": [{"row": preserved.row, **as_numbers(preserved.value)} for preserved in self.preserved],
            "contamination": [{"mix": pair.arm, "file": pair.file, "towards": pair.other, **as_numbers(pair.value)}
                              for pair in self.nearer],
            "overlap": [{"first": a, "second": b, **vars(overlap)} for (a, b), overlap in self.overlaps.items()],
            "foretold": [vars(row) for row in self.foretold],
        }, indent=1) + "\n"  # fmt: skip


def _span(interval: Interval) -> str:
    return f"{interval.low:.2f} to {interval.high:.2f}"


def _more(more: More) -> str:
    value, low, high = more.value.value, more.value.low, more.value.high
    if value < 0:
        return f"{-value:.2f} less of {more.file} ({-high:.2f} to {-low:.2f})"
    return f"{value:.2f} more of {more.file} ({low:.2f} to {high:.2f})"


def _lost(kept: Interval) -> str:
    return f"{1 - kept.value:.2f} ({1 - kept.high:.2f} to {1 - kept.low:.2f})"


def _beside(arm: Arm) -> str:
    if arm.switched:
        how = "one after the other along the steps" if arm.way == IN_TURN else "at every step"
        return f"With {len(arm.weights)} files switched {how}"
    return f"In {arm.way}, which is no mix"


def _ordinal(count: int) -> str:
    names = {2: "the second", 3: "the third", 4: "the fourth", 5: "the fifth", 6: "the sixth", 7: "the seventh"}
    return names.get(count, f"the {count}th")
