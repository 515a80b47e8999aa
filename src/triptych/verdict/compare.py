"""Every two methods in every criterion: better, worse, no difference that matters, or undecided.

Better and worse: the difference is surely not 0. No difference that matters: it surely lies within the margin on both
sides, the two one-sided tests of Schuirmann (1987), A comparison of the two one-sided tests procedure and the power
approach. What is both is of no matter. All claims of one criterion hold together at the level (see `multiple`); every
test takes the level's whole two-sided interval, so that with two methods the interval alone tells the decision.
"""

from collections.abc import Iterator, Mapping
from itertools import combinations, product

from ..metrics import metrics
from .evidence import BOTH, FIDELITY, FLOOR, NORMALISED, SUBJECT, Evidence
from .intervals import Estimate
from .multiple import shaffer, sure
from .needed import needed, sentence
from .values import Comparison, Difference

Pair = tuple[str, str]  # a method and another


def differences(evidence: Evidence) -> Iterator[Difference]:
    """All pairs, by criterion."""
    between = tuple(combinations(evidence.singles, 2))
    about_combined = tuple(pair for pair in combinations(evidence.methods, 2) if pair not in between)
    for criterion, family in product(criteria(evidence), (between, about_combined)):
        compared = {pair: estimate for pair in family if (estimate := evidence.compare(criterion, *pair)) is not None}
        margin = evidence.margins.of(criterion)
        for pair, (decision, differ, equal) in decide(compared, margin, lower=lower_is_better(criterion)).items():
            estimate = compared[pair]
            off = abs(estimate.value)
            open_ = _needed(evidence, estimate, off, (margin or 0.0) - off) if decision == "undecided" else ""
            yield Difference(criterion, *pair, estimate.interval(), decision, margin, differ, equal, open_)


def _needed(evidence: Evidence, estimate: Estimate, *distances: float) -> str:
    return sentence(evidence, needed(evidence, estimate, *distances))


def decide(
    compared: Mapping[Pair, Estimate], margin: float | None, *, lower: bool = False
) -> dict[Pair, tuple[Comparison, float, float | None]]:
    """The decision on each of several differences, with its adjusted p-values of difference and of equivalence."""
    doubts = shaffer([_doubts(estimate, margin) for estimate in compared.values()])
    return {
        pair: (_decision(estimate, lower, doubt), doubt[0], doubt[1] if len(doubt) > 1 else None)
        for (pair, estimate), doubt in zip(compared.items(), doubts, strict=True)
    }


def criteria(evidence: Evidence) -> list[str]:
    """What is compared: the headline first, and likeness to the concept in its normalised form where there is one."""
    normalised = [name for name in NORMALISED if evidence.gap(FLOOR[name]) >= evidence.margins.gap]
    hidden = {BOTH, *(NORMALISED[name] for name in normalised)}
    both = [BOTH] if BOTH in evidence.tables else []
    return [*both, *normalised, *(metric for metric in evidence.tables if metric not in {*hidden, *NORMALISED})]


def lower_is_better(criterion: str) -> bool:
    known = metrics().get(SUBJECT if criterion == FIDELITY else criterion)
    return known is not None and known.better == "lower"


def _doubts(estimate: Estimate, margin: float | None) -> tuple[float, ...]:
    """Of a difference, and of an equivalence: their nulls, 0 and beyond the margin, are never both true."""
    differ = min(estimate.p_above(0), estimate.p_below(0))
    return (differ, max(estimate.p_above(-margin), estimate.p_below(margin))) if margin else (differ,)


def _decision(estimate: Estimate, lower: bool, doubts: tuple[float, ...]) -> Comparison:
    if len(doubts) > 1 and sure(doubts[1]):
        return "no difference"
    if not sure(doubts[0]):
        return "undecided"
    return "better" if (estimate.value > 0) != lower else "worse"
