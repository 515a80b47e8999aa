"""Retention: what a mix keeps of a file's own gain over the bare base, picture by picture.

With the headline figure s ("both at once": likeness times what the prompt asks), over the same prompts and seeds,

    retention = (s(mix) - s(base)) / (s(alone) - s(base)),

0 for the class word on the bare base and 1 for the file alone. Its interval is that of the paired sum
s(mix) - r s(alone) - (1 - r) s(base), which is 0 at r, over the gain: the delta method for a ratio of means.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from math import isfinite
from statistics import fmean

from ..metrics import Shown, metrics
from ..metrics.encoders import ImageEncoder
from ..scores import BASE, Score
from ..study.work import Work
from ..verdict import MARGINS
from ..verdict.evidence import BOTH, CEILING, PRESERVATION, PROMPT, SUBJECT, Evidence
from ..verdict.intervals import Estimate, Interval
from ..verdict.multiple import sure
from ..verdict.table import Table
from .response import Response

ALONE = "alone"
LEAST = 0.1  # gain of a file alone, below which a ratio to it means nothing
CRITERIA = (SUBJECT, CEILING, PROMPT, PRESERVATION)


@dataclass(frozen=True)
class Kept:
    """What one mix keeps of one file. `both` is the headline figure of its pictures."""

    arm: str
    file: str
    weight: float
    retention: Interval
    both: float
    response: Response | None = None  # None where nothing is foretold


@dataclass(frozen=True)
class File:
    """One file alone: its headline figure, that of the class word on the bare base, and whether it learned.

    It learned if the gain is surely above 0, and at least 0.1. `pictures` has the headline figure of every picture, row
    by row: a value for each prompt, in one order for all rows; None for a prompt that cannot be judged.
    """

    name: str
    alone: float
    gain: Interval
    learned: bool
    pictures: Mapping[str, tuple[float | None, ...]] = field(default_factory=dict)

    @property
    def why_not(self) -> str:
        return (
            ""
            if self.learned
            else f"{self.name} alone is not clearly better than the bare base: it has nothing to lose."
        )


def judged(work: Work, pictures: Sequence[Shown], encoder: ImageEncoder) -> Evidence:
    seen = work.evidence(pictures, encoder)
    scores = [score for name in CRITERIA for score in metrics()[name].measure(seen)]
    return Evidence.of(scores, [], {}, MARGINS, work.plan.seed)


def file_alone(name: str, evidence: Evidence) -> File:
    """What the file does alone, against the class word on the bare base."""
    gain = evidence.both(ALONE, BASE) if BOTH in evidence.tables else None
    if gain is None:
        return File(name, 0.0, Interval(0.0, 0.0, 0.0, 0), learned=False)
    mean, cells = evidence.mean(BOTH, ALONE), evidence.tables[BOTH].cells
    pictures = {row: tuple(float(v) if isfinite(v) else None for v in values[0].flat) for row, values in cells.items()}
    learned = sure(gain.p_above(0)) and gain.value >= LEAST
    return File(name, mean.value if mean else 0.0, gain.interval(), learned, pictures)


def retention(evidence: Evidence, arm: str) -> Interval | None:
    """The retention of one mix; None where it was not measured."""
    return kept_more(evidence, arm, BASE)


def kept_more(evidence: Evidence, arm: str, other: str) -> Interval | None:
    """The retention of one mix less that of another, from paired pictures; None where one was not measured."""
    table = evidence.tables.get(BOTH)
    more = share(table, {arm: 1.0, other: -1.0}) if table else None
    return more.interval() if more else None


def share(table: Table, rows: Mapping[str, float]) -> Estimate | None:
    """The sum of rows' means times their weights, in units of what the file alone adds to the bare base.

    None where one was not measured, or the file alone adds nothing.
    """
    if not rows.keys() <= table.cells.keys():
        return None
    gain, total = table.difference(ALONE, BASE), table.weighed(rows)
    if gain is None or total is None or gain.value <= 0:
        return None
    value = total.value / gain.value
    spread = table.weighed({**rows, ALONE: rows.get(ALONE, 0.0) - value, BASE: rows.get(BASE, 0.0) + value})
    return replace(spread.scaled(1 / gain.value), value=value) if spread else None


def preserved(evidence: Evidence) -> dict[str, Interval]:
    """Row -> base preservation on unrelated prompts: 1 where the base's pictures stay."""
    table = evidence.tables.get(PRESERVATION)
    means = {name: table.mean(name) for name in table.cells if name != BASE} if table else {}
    return {name: mean.interval() for name, mean in means.items() if mean}


def contamination(
    other: Work, mine: Mapping[str, Sequence[Shown]], own: Sequence[Shown], encoder: ImageEncoder
) -> dict[str, Interval]:
    """Row -> how far the pictures of one concept went towards another concept.

    0: no nearer to the other concept's pictures than the file alone comes; 1: as near as the other file's own pictures.

    Args:
        other: the other concept.
        mine: row -> pictures of the first concept, those of the file alone among them.
        own: the other file's pictures of its own concept.
    """
    everything = [picture for pictures in mine.values() for picture in pictures]
    seen = other.evidence([*everything, *own], encoder)
    scores = [
        Score("contamination", row, value, 0, picture.prompt, picture.seed)
        for row, pictures in mine.items()
        for picture, value in zip(pictures, seen.likeness(pictures), strict=True)
    ]
    table, top = Table.of(scores), fmean(seen.likeness(own))
    alone = table.mean(ALONE)
    gap = top - alone.value if alone else 0.0
    if gap <= MARGINS.gap:
        return {}
    found = {}
    for row in mine:
        difference = table.difference(row, ALONE) if row != ALONE else None
        if difference:
            found[row] = difference.scaled(1 / gap).interval()
    return found


def together(kept: Sequence[Interval]) -> Interval:
    """The mean over files, and its interval for these very files: their own intervals, as independent ones."""
    value = fmean(interval.value for interval in kept)
    halves = [(interval.high - interval.low) / 2 for interval in kept]
    if not all(map(isfinite, halves)):
        return Interval(value, float("-inf"), float("inf"), len(kept))
    half = sum(width**2 for width in halves) ** 0.5 / len(kept)
    return Interval(value, value - half, value + half, len(kept))


def as_numbers(interval: Interval) -> dict[str, float | None]:
    """An interval for JSON, which has no infinity."""
    return {name: value if isfinite(value) else None for name, value in asdict(interval).items()}
