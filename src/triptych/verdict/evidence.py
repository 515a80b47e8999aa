"""What the answers rest on: every metric as one table over all methods, and paired differences between any two."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache, cached_property
from statistics import fmean
from typing import Self

import numpy as np

from ..scores import BASE, REAL, Cost, Score, parts_of
from .intervals import Estimate, Floats, Interval, Resamples
from .multiple import holm, sure
from .values import Anchors, Decision, Margins

SUBJECT, PROMPT, PRESERVATION, CEILING = "subject_fidelity", "prompt_fidelity", "base_preservation", "ceiling"
LEAKAGE, PORTABILITY, MEMORISATION = "leakage", "portability", "memorisation"
FIDELITY = "fidelity"  # subject fidelity, normalised
NORMALISED = {FIDELITY: SUBJECT, LEAKAGE: LEAKAGE, PORTABILITY: PORTABILITY}  # criterion -> the cosines it is made from


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
        shown: dict[str, set[str]] = {}
        for score in scores:
            cells = self.cells.setdefault(score.method, np.full(shape, np.nan))
            # the bare base knows no training run: its one set of pictures stands beside every run
            run = slice(None) if score.method == BASE else runs.index(score.replicate)
            cells[run, *at[score.prompt, _seed(score)]] = score.value
            if score.picture:
                shown.setdefault(score.method, set()).add(score.picture)
        self.pictures_of = {method: frozenset(paths) for method, paths in shown.items()}
        self._resamples = _resamples(tuple(len(seeds[prompt]) for prompt in sorted(seeds)), len(runs), seed)
        self._known: dict[tuple[str, str], Estimate | None] = {}

    @property
    def pictures(self) -> int:
        """Of one training run."""
        return int(max((~np.isnan(cells)).any(axis=0).sum() for cells in self.cells.values()))

    def mean(self, method: str) -> Estimate:
        cells = self.cells[method]
        estimate = self._resamples.estimate(cells)
        return replace(estimate, n=estimate.n // len(cells)) if method == BASE else estimate

    def difference(self, method: str, other: str) -> Estimate | None:
        """`method` less `other` over what both have; None where they share nothing."""
        if (method, other) not in self._known:
            cells = self.cells[method] - self.cells[other]
            self._known[method, other] = None if np.isnan(cells).all() else self._resamples.estimate(cells)
        return self._known[method, other]


@cache
def _resamples(seeds_per_prompt: tuple[int, ...], runs: int, seed: int) -> Resamples:
    return Resamples(seeds_per_prompt, runs, seed)


def _seed(score: Score) -> int:
    return -1 if score.seed is None else score.seed


@dataclass(frozen=True)
class Evidence:
    """The measured tables with anchors, costs and margins. `methods` are those whose subject fidelity was measured.

    `blind`: whether the real pictures reach so little in prompt fidelity that the criterion is left out.
    """

    tables: Mapping[str, Table]
    anchors: Anchors
    costs: Mapping[str, Cost]
    failures: Mapping[str, str]
    margins: Margins
    replicates: int
    blind: bool = False

    @classmethod
    def of(
        cls, scores: Sequence[Score], costs: Sequence[Cost], failures: Mapping[str, str], margins: Margins, seed: int
    ) -> Self:
        by_metric: dict[str, list[Score]] = {}
        for score in scores:
            if score.method != REAL:
                by_metric.setdefault(score.metric, []).append(score)
        real = [score.value for score in scores if (score.metric, score.method) == (CEILING, REAL)]
        tables = {metric: Table(rows, seed) for metric, rows in by_metric.items()}
        reached = _reached(scores, REAL)
        if blind := _blind(reached, _reached(scores, BASE), margins.prompt):
            del tables[PROMPT]
        subject = tables.get(SUBJECT)
        floor = subject.mean(BASE).interval() if subject and BASE in subject.cells else None
        ceiling = Interval(float(np.mean(real)), -np.inf, np.inf, len(real)) if real else None
        usable = bool(floor and ceiling and ceiling.value - floor.value >= margins.gap)
        replicates = len({score.replicate for score in by_metric.get(SUBJECT, []) if score.method != BASE})
        named = {cost.method: cost for cost in costs}
        anchors = Anchors(floor, ceiling, usable, reached)
        return cls(tables, anchors, named, failures, margins, replicates, blind)

    @cached_property
    def methods(self) -> tuple[str, ...]:
        return tuple(name for name in self.tables[SUBJECT].cells if name != BASE) if SUBJECT in self.tables else ()

    @cached_property
    def singles(self) -> tuple[str, ...]:
        """The methods without the combinations of them, which are rows but no methods."""
        return tuple(name for name in self.methods if len(parts_of(name)) == 1)

    @cached_property
    def combined(self) -> tuple[str, ...]:
        """The combinations: a family of claims of their own, so that drawing them makes no method less sure."""
        return tuple(name for name in self.methods if name not in self.singles)

    def fidelity(self, method: str, other: str = BASE) -> Estimate | None:
        """Difference in normalised fidelity (1: from floor to ceiling); against the base, the fidelity itself."""
        return self.compare(FIDELITY, method, other)

    def compare(self, criterion: str, method: str, other: str = BASE) -> Estimate | None:
        """`method` less `other`, in the criterion's own unit; None where it was not measured for both.

        Criteria of likeness to the concept are told as a part of the way from the floor (0) to the ceiling (1).
        """
        if criterion not in NORMALISED:
            return self.difference(criterion, method, other)
        metric = NORMALISED[criterion]
        gap = self.gap(metric)
        difference = self.difference(metric, method, other) if gap >= self.margins.gap else None
        return difference and difference.scaled(1 / gap)

    def gap(self, metric: str) -> float:
        """From the bare base to the real pictures, in cosine; 0 where one of them was not measured."""
        floor, ceiling = self.mean(metric, BASE), self.anchors.ceiling
        return ceiling.value - floor.value if floor and ceiling else 0.0

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
        """The methods, and the combinations, that are surely above the floor (Holm in each family), best first."""
        estimates = {name: estimate for name in self.methods if (estimate := self.fidelity(name))}
        doubts: dict[str, float] = {}
        for family in (self.singles, self.combined):
            doubts |= holm({name: estimates[name].p_above(0) for name in family if name in estimates})
        return tuple(sorted((name for name in doubts if sure(doubts[name])), key=lambda name: -estimates[name].value))

    def follow_better(self, method: str, others: Iterable[str], more: float) -> dict[str, float]:
        """The p-value of "it follows prompts better than `method`, by `more`", of each of the others that did learn.

        One that is surely less faithful than `method` by more than the margin is left out: it pays for it.
        """
        found = {}
        for name in others:
            prompts, fidelity = self.difference(PROMPT, method, name), self.fidelity(method, name)
            paid = fidelity is None or sure(fidelity.p_above(self.margins.fidelity))
            if name != method and name in self.learned and prompts and not paid:
                found[name] = prompts.p_below(-more)
        return found

    @cached_property
    def memorised(self) -> tuple[str, ...]:
        """The methods whose pictures prefer training to held-out pictures surely more than the bare base's (Holm).

        By more than the margin: whoever has seen some of a few pictures always leans to them a little.
        """
        estimates = {name: found for name in self.methods if (found := self.difference(MEMORISATION, name, BASE))}
        doubts = holm({name: estimate.p_above(self.margins.cosine) for name, estimate in estimates.items()})
        return tuple(name for name in doubts if sure(doubts[name]))

    @cached_property
    def called_by_class_word(self) -> tuple[str, ...]:
        """The methods that no word of their own calls: their pictures of the concept are those of the class word."""
        return tuple(
            name for name in self.methods if (shown := self.shown(LEAKAGE, name)) and shown <= self.shown(SUBJECT, name)
        )

    def shown(self, metric: str, method: str) -> frozenset[str]:
        """The pictures that a metric looked at."""
        return self.tables[metric].pictures_of.get(method, frozenset()) if metric in self.tables else frozenset()

    @property
    def pictures(self) -> int:
        """How many pictures judge one training run."""
        return sum(self.tables[metric].pictures for metric in (SUBJECT, PRESERVATION) if metric in self.tables)


def _reached(scores: Sequence[Score], who: str) -> float | None:
    """In prompt fidelity, the mean."""
    values = [score.value for score in scores if (score.metric, score.method) == (PROMPT, who)]
    return fmean(values) if values else None


def _blind(real: float | None, base: float | None, margin: float) -> bool:
    """Real pictures do not reach half of what the bare base's reach in prompt fidelity.

    What tells whether the prompt is there then cannot see it in pictures of this concept, however well they are drawn.
    """
    return real is not None and base is not None and real < base / 2 and base - real > margin


def not_worse(difference: Estimate | None, margin: float) -> Decision:
    """Non-inferiority: yes when the whole interval lies above -margin, no when it lies wholly below, else undecided."""
    if difference is None:
        return "undecided"
    interval = difference.interval()
    return "yes" if interval.low > -margin else "no" if interval.high < -margin else "undecided"


def surely_not_worse(differences: Mapping[str, Estimate | None], margin: float) -> list[str]:
    """Those of several differences that are surely above -margin, all together (Holm)."""
    doubts = holm({name: each.p_above(-margin) if each else 1.0 for name, each in differences.items()})
    return [name for name in doubts if sure(doubts[name])]
