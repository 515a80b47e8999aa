"""What the answers rest on: every metric as one table over all methods, and paired differences between any two."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from statistics import fmean
from typing import Literal, Self

import numpy as np

from ..metrics.components import BLIND, PREFIX
from ..scores import BASE, REAL, RESEEDED, Cost, Score, parts_of
from .intervals import ALPHA, Estimate, Floats, Interval
from .moderated import NONE, Prior
from .multiple import holm, sure
from .table import Table
from .values import Anchors, Margins

SUBJECT, PROMPT, PRESERVATION, CEILING = "subject_fidelity", "prompt_fidelity", "base_preservation", "ceiling"
LEAKAGE, PORTABILITY, COPYING = "leakage", "portability", "copying"
BOTH = "both"  # fidelity times prompt fidelity, picture by picture: the headline
FIDELITY = "fidelity"  # subject fidelity, normalised
NORMALISED = {FIDELITY: SUBJECT, LEAKAGE: LEAKAGE, PORTABILITY: PORTABILITY}  # criterion -> the cosines it is made from
FLOOR = {FIDELITY: SUBJECT, LEAKAGE: SUBJECT, PORTABILITY: PORTABILITY}  # ... -> whose bare base is the floor


@dataclass(frozen=True)
class Evidence:
    """The measured tables with anchors, costs and margins. `methods` are those whose subject fidelity was measured.

    `blind`: the components of prompts that cannot be read off the real pictures, and are left out. `over`: what the
    replicates are: trainings of one concept, or concepts.
    """

    tables: Mapping[str, Table]
    anchors: Anchors
    costs: Mapping[str, Cost]
    failures: Mapping[str, str]
    margins: Margins
    replicates: int
    blind: tuple[str, ...] = ()
    strata: Mapping[str, str] = field(default_factory=dict)  # prompt -> its stratum
    seed: int = 0  # of the draws that probabilities are counted from
    over: Literal["trainings", "concepts"] = "trainings"

    @classmethod
    def of(
        cls,
        scores: Sequence[Score],
        costs: Sequence[Cost],
        failures: Mapping[str, str],
        margins: Margins,
        seed: int,
        strata: Mapping[str, str] | None = None,
        *,
        prior: Prior = NONE,
        alpha: float = ALPHA,
    ) -> Self:
        """`prior`: of the headline's variance between trainings. `alpha`: what this look at the study may spend."""
        by_metric: dict[str, list[Score]] = {}
        for score in scores:
            if score.method not in (REAL, RESEEDED):
                by_metric.setdefault(score.metric, []).append(score)
        tables = {metric: Table.of(rows, alpha=alpha) for metric, rows in by_metric.items()}
        anchors = _anchors(scores, tables.get(SUBJECT), margins.gap)
        if anchors.usable and anchors.floor:
            both = list(headline(by_metric[SUBJECT], by_metric.get(PROMPT, ()), anchors.floor.value, anchors.gap))
            tables[BOTH] = Table.of(both, prior=prior, alpha=alpha)
        replicates = len({score.replicate for score in by_metric.get(SUBJECT, []) if score.method != BASE})
        named = {cost.method: cost for cost in costs}
        return cls(tables, anchors, named, failures, margins, replicates, _blind(scores), strata or {}, seed)

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

    def both(self, method: str, other: str) -> Estimate | None:
        """Difference in the headline figure; None where one of them has none."""
        return self.difference(BOTH, method, other)

    def level(self, criterion: str, method: str) -> float | None:
        """A criterion's mean in its own unit, likeness as a part of the way; None where it was not measured."""
        estimate = self.compare(criterion, method) if criterion in NORMALISED else self.mean(criterion, method)
        return estimate.value if estimate else None

    def compare(self, criterion: str, method: str, other: str = BASE) -> Estimate | None:
        """`method` less `other`, in the criterion's own unit; None where it was not measured for both.

        Likeness to the concept is given as a part of the way from the floor (0) to the ceiling (1).
        """
        if criterion not in NORMALISED:
            return self.difference(criterion, method, other)
        metric = NORMALISED[criterion]
        gap = self.gap(FLOOR[criterion])
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

    def measured(self, metric: str, method: str) -> Estimate:
        """The mean of a criterion that was measured for the method.

        Raises:
            KeyError: it was not.
        """
        found = self.mean(metric, method)
        if found is None:
            raise KeyError(method)
        return found

    def mean(self, metric: str, method: str) -> Estimate | None:
        """As `measured`; None where it was not."""
        table = self.tables.get(metric)
        return table.mean(method) if table and method in table.cells else None

    @cached_property
    def draws(self) -> dict[str, dict[str, Floats]]:
        """Draws of the true means: criterion -> method, the bare base too -> [draws]; what is not known is left out."""
        found = {}
        for offset, metric in enumerate((BOTH, PRESERVATION)):
            table = self.tables.get(metric)
            names = [name for name in (*self.methods, BASE) if table and name in table.cells]
            if table and len(names) > 1 and (draws := table.posterior(names, self.seed + offset)):
                found[metric] = draws
        return found

    @cached_property
    def learned(self) -> tuple[str, ...]:
        """The methods, and the combinations, that are surely above the bare base in both at once (Holm in each family).

        Best first.
        """
        estimates = {name: estimate for name in self.methods if (estimate := self.both(name, BASE))}
        doubts: dict[str, float] = {}
        for family in (self.singles, self.combined):
            doubts |= holm({name: estimates[name].p_above(0) for name in family if name in estimates})
        return tuple(sorted((name for name in doubts if sure(doubts[name])), key=lambda name: -estimates[name].value))

    def by_stratum(self, method: str) -> dict[str, Interval]:
        """The headline figure over the prompts of each stratum, in the order of the strata."""
        table, found = self.tables.get(BOTH), {}
        if table is None or method not in table.cells:
            return {}
        for stratum in dict.fromkeys(self.strata.values()):
            prompts = [prompt for prompt, its in self.strata.items() if its == stratum]
            if estimate := table.mean_over(method, prompts):
                found[stratum] = estimate.interval()
        return found

    @cached_property
    def copied(self) -> tuple[str, ...]:
        """The methods that copy training pictures surely more often than the bare base, by more than the margin (Holm).

        None of them is recommended. Memorisation (pictures nearer to training than to held-out pictures) is no sign of
        copying: a method that learned a style is nearer to the pictures that it learned from.
        """
        estimates = {name: found for name in self.methods if (found := self.difference(COPYING, name, BASE))}
        doubts = holm({name: estimate.p_above(self.margins.copies) for name, estimate in estimates.items()})
        return tuple(name for name in doubts if sure(doubts[name]))

    @cached_property
    def called_by_class_word(self) -> tuple[str, ...]:
        """The methods without a word of their own: their pictures of the concept are those of the class word."""
        return tuple(
            name for name in self.methods if (shown := self.shown(LEAKAGE, name)) and shown <= self.shown(SUBJECT, name)
        )

    def shown(self, metric: str, method: str) -> frozenset[str]:
        """The pictures that a metric looked at."""
        return self.tables[metric].pictures_of.get(method, frozenset()) if metric in self.tables else frozenset()

    @property
    def prompts(self) -> int:
        """How many prompts name the concept, each with a picture of its own."""
        return self.tables[SUBJECT].pictures if SUBJECT in self.tables else 0

    @property
    def pictures(self) -> int:
        """How many pictures judge one training run."""
        return sum(self.tables[metric].pictures for metric in (SUBJECT, PRESERVATION) if metric in self.tables)


def headline(likeness: Sequence[Score], prompts: Sequence[Score], floor: float, gap: float) -> Iterator[Score]:
    """Both at once, picture by picture: fidelity, at most 1, times prompt fidelity, 0 to 1.

    Fidelity is the part of the way from the bare base (`floor`) to the real pictures (`floor` + `gap`, in cosine). What
    is beyond the real pictures counts as they do, so that a picture given back is worth no more than its prompt; what
    is below the bare base stays below 0, and since prompt fidelity has no sign, two negatives never make a good one.
    A picture whose prompt asks for nothing that can be read is left out; where no prompt could be read at all, fidelity
    stands alone.
    """
    kept = {(score.method, score.replicate, score.prompt, score.seed): score.value for score in prompts}
    for score in likeness:
        follows = kept.get((score.method, score.replicate, score.prompt, score.seed)) if kept else 1.0
        if follows is not None:
            yield replace(score, metric=BOTH, value=min(1.0, (score.value - floor) / gap) * follows)


def _anchors(scores: Sequence[Score], subject: Table | None, gap: float) -> Anchors:
    real = [score for score in scores if (score.metric, score.method) == (CEILING, REAL)]
    floor = found.interval() if subject and BASE in subject.cells and (found := subject.mean(BASE)) else None
    pictures = len({score.prompt for score in real}) if any(score.prompt for score in real) else len(real)
    ceiling = Interval(fmean(score.value for score in real), -np.inf, np.inf, pictures) if real else None
    usable = bool(floor and ceiling and ceiling.value - floor.value >= gap)
    return Anchors(floor, ceiling, usable, _mean(scores, PROMPT, REAL), _mean(scores, PRESERVATION, RESEEDED))


def _mean(scores: Sequence[Score], metric: str, method: str) -> float | None:
    values = [score.value for score in scores if (score.metric, score.method) == (metric, method)]
    return fmean(values) if values else None


def _blind(scores: Sequence[Score]) -> tuple[str, ...]:
    """The components that the judge of prompts cannot read off the real pictures."""
    return tuple(
        score.metric.removeprefix(PREFIX)
        for score in scores
        if score.method == REAL and score.metric.startswith(PREFIX) and score.metric != PROMPT and score.value < BLIND
    )
