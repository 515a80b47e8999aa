"""Which of several files to keep: the best in the headline figure, and what is surely as good or surely worse.

best: the highest mean of those that surely learned the concept and copy nothing. keep: surely not worse than the best
by more than the margin. discard: surely worse than the best by more than the margin (Holm over all files), surely no
better than the bare base by more than it, or copies. Else undecided. What another image encoder does not share is
undecided too (`beside_encoder`).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from ..scores import BASE, Cost, Score
from .evidence import BOTH, Evidence
from .intervals import Estimate
from .multiple import holm, sure
from .values import MARGINS, Margins
from .words import figure, inside, percent, signed, span

Keeping = Literal["best", "keep", "discard", "undecided"]


@dataclass(frozen=True)
class Kept:
    """What to do with one row, and why."""

    method: str
    decision: Keeping
    reason: str


def keeping(scores: Sequence[Score], costs: Sequence[Cost], *, margins: Margins = MARGINS, seed: int = 0) -> list[Kept]:
    """A decision for every row, the best first, then by the headline figure. Empty where it cannot be computed."""
    evidence = Evidence.of(scores, costs, {}, margins, seed)
    if BOTH not in evidence.tables:
        return []
    rows = sorted(evidence.methods, key=lambda name: -evidence.measured(BOTH, name).value)
    best = next((name for name in evidence.learned if name not in evidence.copied), None)
    if best is None:
        return [_without_best(evidence, name) for name in rows]
    others = [name for name in rows if name != best]
    behind = {name: found for name in others if (found := evidence.both(name, best))}
    doubts = holm({name: found.p_below(-margins.both) for name, found in behind.items()})
    kept = [_beside(evidence, name, behind.get(name), best, sure(doubts.get(name, 1.0))) for name in others]
    return [Kept(best, "best", _lead(evidence, best, behind)), *kept]


def beside_encoder(kept: Sequence[Kept], other: Sequence[Kept], name: str) -> list[Kept]:
    """The decisions with what another image encoder decides on the same rows.

    A row that it would discard is not surely to keep, and the other way round. The best stays the best, and its reason
    says what the other encoder decides. `name`: of the other encoder.
    """
    theirs = {each.method: each.decision for each in other}
    return [_with_encoder(each, theirs.get(each.method, "undecided"), name) for each in kept]


def _with_encoder(kept: Kept, theirs: Keeping, name: str) -> Kept:
    if "undecided" in (kept.decision, theirs) or (kept.decision == "discard") == (theirs == "discard"):
        return kept
    decision: Keeping = "best" if kept.decision == "best" else "undecided"
    return Kept(kept.method, decision, f"{kept.reason} Another image encoder, {name}, decides: {theirs}.")


def chance_of_better(evidence: Evidence, best: str) -> float | None:
    """The chance, 0 to 1, that another file is better than the best by more than the margin; None where not known.

    It is counted over draws of all true means at once. What surely copies is left out.
    """
    draws = evidence.draws.get(BOTH, {})
    others = [draws[name] for name in evidence.methods if name in draws and name not in (best, *evidence.copied)]
    if best not in draws or not others:
        return None
    return float((np.max(others, axis=0) - draws[best] > evidence.margins.both).mean())


def _lead(evidence: Evidence, best: str, behind: Mapping[str, Estimate]) -> str:
    own = evidence.measured(BOTH, best).interval()
    said = f"It reaches {figure(own.value)} ({span(own)}) in both at once."
    if not behind:
        return said
    runner = max(behind, key=lambda name: behind[name].value)
    said = f"{said} The runner-up is {inside(runner)}, {signed(behind[runner].interval())} from it."
    chance = chance_of_better(evidence, best)
    if chance is None:
        return said
    return (
        f"{said} The chance that another is better by more than {figure(evidence.margins.both)} is {percent(chance)}."
    )


def _beside(evidence: Evidence, name: str, behind: Estimate | None, best: str, surely_worse: bool) -> Kept:
    margin = evidence.margins.both
    if name in evidence.copied:
        return Kept(name, "discard", "Its pictures are training pictures over again.")
    if behind is None:
        return Kept(name, "undecided", "It shares no pictures with the best.")
    said = f"{signed(behind.interval())} from {inside(best)}"
    if surely_worse:
        return Kept(name, "discard", f"{said}: surely worse by more than {figure(margin)}.")
    if _is_base(evidence, name):
        return Kept(name, "discard", f"{said}, and surely no better than the bare base by more than {figure(margin)}.")
    if sure(behind.p_above(-margin)):
        return Kept(name, "keep", f"{said}: surely not worse by more than {figure(margin)}.")
    return Kept(name, "undecided", f"{said}: whether that is worse by more than {figure(margin)} is not sure.")


def _without_best(evidence: Evidence, name: str) -> Kept:
    """Where nothing surely learned the concept."""
    own = evidence.measured(BOTH, name).interval()
    said = f"{figure(own.value)} ({span(own)}) in both at once"
    if name in evidence.copied:
        return Kept(name, "discard", "Its pictures are training pictures over again.")
    if _is_base(evidence, name):
        return Kept(name, "discard", f"{said}: surely no better than the bare base by more than the margin.")
    return Kept(name, "undecided", f"{said}: that it learned the concept is not sure.")


def _is_base(evidence: Evidence, name: str) -> bool:
    """Whether a row is surely less than the margin above the bare base."""
    above = evidence.both(name, BASE)
    return above is not None and above.interval().high < evidence.margins.both
