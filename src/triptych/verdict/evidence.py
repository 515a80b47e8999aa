"""What the answers rest on: every metric as one table over all methods, and paired differences between any two."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Self

import numpy as np

from ..intervals import LEVEL, Estimate, Floats, Interval, Resamples
from ..scores import BASE, Cost, Score
from .values import Anchors, Decision, Margins

SUBJECT, PROMPT, PRESERVATION, CEILING = "subject_fidelity", "prompt_fidelity", "base_preservation", "ceiling"


class Table:
    """One metric: (run, prompt, seed) for every method on the same axes, and the resamples they share."""

    def __init__(self, scores: Sequence[Score], seed: int) -> None:
        runs = sorted({score.replicate for score in scores})
        seeds: dict[str, list[int]] = {}
        for score in scores:
            slots = seeds.setdefault(score.prompt, [])
            if _seed(score) not in slots:
                slots.append(_seed(score))
        at = {
            (prompt, one): (row, slot)
            for row, prompt in enumerate(sorted(seeds))
            for slot, one in enumerate(sorted(seeds[prompt]))
        }
        shape = (len(runs), len(seeds), max(map(len, seeds.values())))
        self.cells: dict[str, Floats] = {}
        for score in scores:
            cells = self.cells.setdefault(score.method, np.full(shape, np.nan))
            # the bare base knows no training run: its one set of pictures stands beside every run
            run = slice(None) if score.method == BASE else runs.index(score.replicate)
            cells[run, *at[score.prompt, _seed(score)]] = score.value
        self._resamples = Resamples(tuple(len(seeds[prompt]) for prompt in sorted(seeds)), len(runs), seed)

    def mean(self, method: str) -> Estimate:
        cells = self.cells[method]
        estimate = self._resamples.estimate(cells)
        return replace(estimate, n=estimate.n // len(cells)) if method == BASE else estimate

    def difference(self, method: str, other: str) -> Estimate | None:
        """`method` less `other` over what both have; None where they share nothing."""
        cells = self.cells[method] - self.cells[other]
        return None if np.isnan(cells).all() else self._resamples.estimate(cells)


def _seed(score: Score) -> int:
    return -1 if score.seed is None else score.seed


@dataclass(frozen=True)
class Evidence:
    """The measured tables with anchors, costs and margins. `methods` are those whose subject fidelity was measured."""

    tables: Mapping[str, Table]
    anchors: Anchors
    costs: Mapping[str, Cost]
    failures: Mapping[str, str]
    margins: Margins
    replicates: int

    @classmethod
    def of(
        cls, scores: Sequence[Score], costs: Sequence[Cost], failures: Mapping[str, str], margins: Margins, seed: int
    ) -> Self:
        by_metric: dict[str, list[Score]] = {}
        for score in scores:
            by_metric.setdefault(score.metric, []).append(score)
        real = [score.value for score in by_metric.pop(CEILING, [])]
        tables = {metric: Table(rows, seed) for metric, rows in by_metric.items()}
        subject = tables.get(SUBJECT)
        floor = subject.mean(BASE).interval() if subject and BASE in subject.cells else None
        ceiling = Interval(float(np.mean(real)), -np.inf, np.inf, len(real)) if real else None
        usable = bool(floor and ceiling and ceiling.value - floor.value >= margins.gap)
        replicates = len({score.replicate for score in by_metric.get(SUBJECT, []) if score.method != BASE})
        named = {cost.method: cost for cost in costs}
        return cls(tables, Anchors(floor, ceiling, usable), named, failures, margins, replicates)

    @cached_property
    def methods(self) -> tuple[str, ...]:
        return tuple(name for name in self.tables[SUBJECT].cells if name != BASE) if SUBJECT in self.tables else ()

    def fidelity(self, method: str, other: str = BASE) -> Estimate | None:
        """Difference in normalised fidelity (1: from floor to ceiling); against the base, the fidelity itself."""
        if not self.anchors.usable:
            return None
        difference = self.tables[SUBJECT].difference(method, other)
        return difference and difference.scaled(1 / self.anchors.gap)

    def difference(self, metric: str, method: str, other: str) -> Estimate | None:
        table = self.tables.get(metric)
        if table is None or method not in table.cells or other not in table.cells:
            return None
        return table.difference(method, other)

    def mean(self, metric: str, method: str) -> Estimate | None:
        table = self.tables.get(metric)
        return table.mean(method) if table and method in table.cells else None

    @cached_property
    def learned(self) -> tuple[str, ...]:
        """The methods surely above the floor, best first; the level is shared among all of them (Bonferroni)."""
        estimates = {name: self.fidelity(name) for name in self.methods}
        sure = {
            name: estimate.value
            for name, estimate in estimates.items()
            if estimate and estimate.interval(level(len(estimates))).low > 0
        }
        return tuple(sorted(sure, key=lambda name: -sure[name]))


def level(comparisons: int) -> float:
    """The level of each of several intervals that hold together (Bonferroni)."""
    return 1 - (1 - LEVEL) / max(comparisons, 1)


def not_worse(difference: Estimate | None, margin: float, sure: float = LEVEL, sure_worse: float = LEVEL) -> Decision:
    """Non-inferiority: yes when the whole interval lies above -margin, no when it lies wholly below, else undecided.

    Schuirmann (1987), the two one-sided tests; here each side is tested with an interval at its own level.
    """
    if difference is None:
        return "undecided"
    if difference.interval(sure).low > -margin:
        return "yes"
    return "no" if difference.interval(sure_worse).high < -margin else "undecided"
