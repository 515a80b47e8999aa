"""The three questions people ask: yes, probably, cannot tell, probably not or no, with the figures it rests on."""

import math
from collections.abc import Sequence
from functools import partial

from ..scores import BASE
from .evidence import PRESERVATION, Evidence
from .grades import graded
from .intervals import Estimate
from .multiple import holm, sure
from .needed import needed, sentence
from .phrases import beside, disturbs, dominates, levels, no_fidelity, reach, shortfall, within
from .statements import enough as enough_stated
from .statements import excessive as excessive_stated
from .statements import middle as middle_stated
from .values import Answer, Further
from .words import figure, inside, listed, signed, title

LIGHT, MIDDLE, HEAVY = "textual-inversion", "hypernetwork", "dreambooth"


def answers(evidence: Evidence) -> dict[str, Answer]:
    return {
        "textual_inversion_is_enough": _open(evidence, LIGHT) or enough(evidence, LIGHT),
        "dreambooth_is_excessive": _open(evidence, HEAVY) or excessive(evidence, HEAVY),
        "hypernetwork_is_a_middle_ground": _open(evidence, LIGHT, MIDDLE, HEAVY) or middle(evidence),
    }


def enough(evidence: Evidence, light: str) -> Answer:
    others = [name for name in evidence.singles if name != light and evidence.both(light, name)]
    if not others:
        return _unknown(f"There is no other method to compare {inside(light)} with; run at least one more.")
    return graded(evidence, _enough(evidence, light, others), partial(enough_stated, light=light, others=others))


def _enough(evidence: Evidence, light: str, others: Sequence[str]) -> Answer:
    """Yes: not worse than any other method by more than the margin in both at once, and learned. No: surely worse.

    Being not worse than every other needs no correction (an intersection-union test); being worse than one does (Holm).
    """
    margin = evidence.margins.both
    measured = {name: difference for name in others if (difference := evidence.both(light, name))}
    doubts = holm({name: each.p_below(-margin) for name, each in measured.items()})
    worse = [name for name in measured if sure(doubts[name])]
    if worse:
        best = min(worse, key=lambda name: measured[name].value)
        return Answer("no", f"{reach(evidence, light, best)} {shortfall(measured[best], margin)}")
    if light not in evidence.learned:
        weak = f"{reach(evidence, light)} That is not surely above the bare base; train it longer or on more pictures."
        return _doubt(evidence, weak, evidence.both(light, BASE), 0.0, len(evidence.singles))
    closest = min(measured, key=lambda name: measured[name].interval().low)
    told = reach(evidence, light, closest)
    if not sure(measured[closest].p_above(-margin)):
        crossing = f"The difference, {signed(measured[closest].interval())}, crosses the margin of {figure(-margin)}."
        return _doubt(evidence, f"{told} {crossing}", measured[closest], -margin, len(measured))
    return Answer("yes", f"{told} {within(measured[closest], margin)}")


def excessive(evidence: Evidence, heavy: str) -> Answer:
    lighter = [
        name
        for name in evidence.singles
        if name != heavy
        and name not in evidence.copied
        and lighter_than(evidence, name, heavy)
        and evidence.both(name, heavy)
        and evidence.difference(PRESERVATION, name, heavy)
    ]
    if not lighter:
        return _unknown(
            f"Nothing lighter than {title(heavy)} was measured for the pictures and for what it does to the base."
        )
    stated = partial(excessive_stated, heavy=heavy, lighter=lighter)
    return graded(evidence, _excessive(evidence, heavy, lighter), stated)


def _excessive(evidence: Evidence, heavy: str, lighter: Sequence[str]) -> Answer:
    """Yes: something lighter is better in both by more than the margin, or is as good and disturbs the base less.

    No: nothing is. The lighter method that is best in both is cited, and another where that one is what proves it.
    """
    compared = {name: estimate for name in lighter if (estimate := evidence.both(name, heavy))}
    calmer = {name: change for name in lighter if (change := evidence.difference(PRESERVATION, name, heavy))}
    margin = evidence.margins.both
    good = {name: compared[name].p_above(-margin) if name in evidence.learned else 1.0 for name in lighter}
    gains = {  # two ways to a yes, which share the level
        name: min(1.0, 2 * min(calmer[name].p_above(0.0), compared[name].p_above(margin))) for name in lighter
    }
    every = holm({name: max(good[name], gains[name]) for name in lighter})
    proven = [name for name in lighter if sure(every[name])]
    ranked = sorted(lighter, key=lambda name: (-compared[name].value, name))

    def reason_for(name: str) -> str:
        return f"{beside(compared[name], name, heavy, margin)} {disturbs(calmer[name], heavy)}"

    if proven:
        cited = next((name for name in ranked if sure(good[name])), ranked[0])
        proof = next(name for name in ranked if name in proven)
        also = f" What makes it sure: {reason_for(proof)}" if cited not in proven else ""
        return Answer("yes", f"{reason_for(cited)}{also}")
    open_ = [name for name in ranked if not _ruled_out(evidence, name, heavy)]
    if not open_:
        return Answer(
            "no", f"Nothing lighter is as good and disturbs the base less. The nearest: {reason_for(ranked[0])}"
        )
    nearest = max(open_, key=lambda name: (sure(good[name]), compared[name].value))
    weak, boundary = (calmer[nearest], 0.0) if sure(good[nearest]) else (compared[nearest], -margin)
    return _doubt(evidence, reason_for(nearest), weak, boundary, len(lighter))


def _ruled_out(evidence: Evidence, light: str, heavy: str) -> bool:
    """Surely worse in both at once by more than the margin; or neither calmer nor better by what would matter."""
    calmer, compared, margins = (
        evidence.difference(PRESERVATION, light, heavy),
        evidence.both(light, heavy),
        evidence.margins,
    )
    if compared is None or calmer is None:
        return False
    ends = compared.interval()
    return ends.high < -margins.both or (ends.high < margins.both and calmer.interval().high < margins.preservation)


def middle(evidence: Evidence) -> Answer:
    if not (evidence.both(HEAVY, LIGHT) and evidence.both(MIDDLE, LIGHT) and evidence.both(HEAVY, MIDDLE)):
        return _unknown("The three methods share no pictures to compare.")
    rivals = [name for name in evidence.singles if name != MIDDLE and evidence.both(name, MIDDLE)]
    stated = partial(
        middle_stated,
        ends=(LIGHT, HEAVY),
        between=MIDDLE,
        rivals=rivals,
        lightness=partial(lightness, evidence, MIDDLE),
    )
    return graded(evidence, _middle(evidence, rivals), stated)


def _middle(evidence: Evidence, rivals: Sequence[str]) -> Answer:
    """Yes: the ends differ, the middle lies between them, each step within the margin, and nothing dominates it.

    No: any of these surely fails; that is several ways to a false "no", which share the level (Holm).
    """
    margin = evidence.margins.both
    ends, up, down = (evidence.both(*pair) for pair in ((HEAVY, LIGHT), (MIDDLE, LIGHT), (HEAVY, MIDDLE)))
    assert ends and up and down
    figures = levels(evidence, LIGHT, MIDDLE, HEAVY)
    above = "The hypernetwork rises above DreamBooth: DreamBooth less hypernetwork is"
    against = {
        f"There is no ground between: DreamBooth less textual inversion is {signed(ends.interval())}.": ends.p_below(
            margin
        ),
        f"The hypernetwork falls below textual inversion, by {signed(up.interval())}.": up.p_below(-margin),
        f"{above} {signed(down.interval())}.": down.p_below(-margin),
        **{dominates(evidence, name, MIDDLE): domination(evidence, name, MIDDLE) for name in rivals},
    }
    doubts = holm(against)
    for reason in (reason for reason in against if sure(doubts[reason])):
        return Answer("no", f"{figures} {reason}")
    if not sure(ends.p_above(0.0)):
        return _doubt(evidence, f"{figures} Whether the ends differ at all is not sure.", ends, 0.0)
    for step in (up, down):
        if not sure(step.p_above(-margin)):
            return _doubt(evidence, f"{figures} Its place between them is not sure.", step, -margin)
    unsure = [name for name in rivals if not _ahead_somewhere(evidence, MIDDLE, name)]
    if unsure:
        reason = (
            f"{figures} Whether {listed([inside(name) for name in unsure])} could do all of it as well is not sure."
        )
        return _doubt(evidence, reason, evidence.both(MIDDLE, unsure[0]), 0.0)
    return Answer("yes", f"{figures} No other method is as good in both, in preservation and in file size.")


def domination(evidence: Evidence, method: str, other: str) -> float:
    """The p-value of Pareto dominance within the margins.

    That is: nowhere worse (both at once, preservation, file size), and surely better in one.
    """
    size = lightness(evidence, other, method)
    if size is None or size < 0:
        return 1.0
    good, calm = evidence.both(method, other), evidence.difference(PRESERVATION, method, other)
    ahead = 0.0 if size > 0 else 2 * min(_p_above(good, 0.0), _p_above(calm, 0.0))
    margins = evidence.margins
    return max(_p_above(good, -margins.both), _p_above(calm, -margins.preservation), min(ahead, 1.0))


def lightness(evidence: Evidence, method: str, rival: str) -> int | None:
    """1 where the rival's file is smaller, 0 where it is as large, -1 where it is larger; None where not known."""
    its, mine = evidence.costs.get(rival), evidence.costs.get(method)
    if its is None or mine is None:
        return None
    return (its.file_bytes < mine.file_bytes) - (its.file_bytes > mine.file_bytes)


def _ahead_somewhere(evidence: Evidence, method: str, other: str) -> bool:
    differences = (evidence.both(method, other), evidence.difference(PRESERVATION, method, other))
    smaller = lightness(evidence, method, other) == -1
    return smaller or any(difference and difference.interval().low > 0 for difference in differences)


def lighter_than(evidence: Evidence, method: str, other: str) -> bool:
    """It attaches to any base where the other moves the base's own weights, or its file is smaller."""
    mine, its = evidence.costs.get(method), evidence.costs.get(other)
    if mine is None or its is None:
        return False
    return (mine.attaches and not its.attaches) or mine.file_bytes < its.file_bytes


def _open(evidence: Evidence, *needed_methods: str) -> Answer | None:
    """Nothing can be told, for a reason that lies before any comparison; None where the comparison can go ahead."""
    for name in needed_methods:
        if name in evidence.failures and name not in evidence.methods:
            return _unknown(f"{title(name)} failed: {evidence.failures[name].rstrip('.')}.")
    absent = [name for name in needed_methods if name not in evidence.methods]
    if absent:
        return _unknown(f"Not measured in this study: {listed([inside(name) for name in absent])}.")
    if not evidence.anchors.usable:
        return _unknown(no_fidelity(evidence))
    if not evidence.learned:
        reason = "No method carried the concept surely above the bare base, so there is nothing to compare."
        further = learning(evidence)
        return Answer("cannot tell", f"{reason} {sentence(evidence, further)}" if further else reason, further=further)
    return None


def learning(evidence: Evidence) -> Further | None:
    """What would tell whether the method that is farthest above the bare base is surely above it."""
    above = [estimate for name in evidence.singles if (estimate := evidence.both(name, BASE))]
    best = max(above, key=lambda estimate: estimate.value, default=None)
    return needed(evidence, best, best.value, among=len(above)) if best else None


def _unknown(reason: str) -> Answer:
    return Answer("cannot tell", reason)


def _doubt(evidence: Evidence, reason: str, weak: Estimate | None, boundary: float, among: int = 1) -> Answer:
    """Open: what would bring the weak difference clear of its boundary."""
    distance = abs(weak.value - boundary) if weak else -math.inf
    further = needed(evidence, weak, distance, among=among)
    return Answer("cannot tell", f"{reason} {sentence(evidence, further)}", further=further)


def _p_above(difference: Estimate | None, boundary: float) -> float:
    return difference.p_above(boundary) if difference else 1.0
