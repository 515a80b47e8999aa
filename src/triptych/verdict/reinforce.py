"""Whether several at once do more than each: a combination against its parts, and what each part adds to it.

What a part adds is the combination less the row that leaves it out, over the same prompts and seeds.
"""

from collections.abc import Mapping
from functools import partial

from ..scores import AND, parts_of
from .evidence import BOTH, FIDELITY, PRESERVATION, PROMPT, Evidence
from .grades import graded
from .intervals import Estimate
from .multiple import holm, sure
from .needed import needed, sentence
from .statements import reinforces
from .values import Answer
from .words import figure, inside, listed, signed


def reinforcements(evidence: Evidence) -> dict[str, Answer]:
    """Of every combination measured beside all its parts: is it better in both at once than each of them?

    Yes: surely above every part, which needs no correction (an intersection-union test). No: surely not above one of
    them by as much as the margin (Holm over the parts).
    """
    combined = [name for name in evidence.methods if len(parts_of(name)) > 1]
    return {
        name: _answer(evidence, name)
        for name in combined
        if evidence.anchors.usable and set(parts_of(name)) <= set(evidence.singles)
    }


def _answer(evidence: Evidence, name: str) -> Answer:
    return graded(evidence, _tested(evidence, name), partial(reinforces, name=name, parts=parts_of(name)))


def _tested(evidence: Evidence, name: str) -> Answer:
    over = {part: estimate for part in parts_of(name) if (estimate := evidence.both(name, part))}
    best = min(over, key=lambda part: over[part].value)
    own, alone = evidence.measured(BOTH, name), evidence.measured(BOTH, best)
    reasons = [
        f"Together they reach {figure(own.value)} in both at once, {inside(best)} alone {figure(alone.value)}:"
        f" {signed(over[best].interval())}.",
        *_beside(evidence, name, best),
        *_added(evidence, name),
    ]
    if all(sure(estimate.p_above(0)) for estimate in over.values()):
        return Answer("yes", " ".join(reasons))
    margin = evidence.margins.both
    doubts = holm({part: estimate.p_below(margin) for part, estimate in over.items()})
    if any(sure(doubt) for doubt in doubts.values()):
        return Answer("no", " ".join(reasons))
    further = needed(evidence, over[best], abs(over[best].value), abs(over[best].value - margin))
    return Answer("cannot tell", " ".join((*reasons, sentence(evidence, further))), further=further)


def _beside(evidence: Evidence, name: str, part: str) -> list[str]:
    """What being together costs: the other criteria beside the best part."""
    metrics = {"likeness": FIDELITY, "preservation of the rest of the base": PRESERVATION, "prompt fidelity": PROMPT}
    changes = {what: change for what, metric in metrics.items() if (change := evidence.compare(metric, name, part))}
    return [
        f"{what.capitalize()} differs by {signed(change.interval())}"
        + (", which is more than the margin." if _lost(evidence, change, metrics[what]) else ".")
        for what, change in changes.items()
    ]


def _lost(evidence: Evidence, change: Estimate, metric: str) -> bool:
    """Whether it is surely less by more than the margin."""
    return sure(change.p_below(-(evidence.margins.of(metric) or 0.0)))


def _added(evidence: Evidence, name: str) -> list[str]:
    """What each part adds, where the row without it was measured and is not another part's own."""
    added = {part: change for part, change in contributions(evidence, name).items() if change}
    if len(parts_of(name)) < 3 or not added:
        return []
    sums = [f"{inside(part)} {signed(change.interval())}" for part, change in added.items()]
    return [f"Added to the rest: {listed(sums)}."]


def contributions(evidence: Evidence, name: str) -> Mapping[str, Estimate | None]:
    """By part: headline of the combination less that of the row without the part; None where that was not measured."""
    parts = parts_of(name)
    without = {part: AND.join(other for other in parts if other != part) for part in parts}
    return {part: evidence.both(name, rest) if rest in evidence.methods else None for part, rest in without.items()}


def question(name: str) -> str:
    """`Do textual inversion and LoRA reinforce each other?`"""
    parts = [inside(part) for part in parts_of(name)]
    return f"Do {listed(parts)} reinforce each other?"
