"""The three questions people ask, each answered yes, no or undecided, with the figures it rests on."""

import math

from ..scores import BASE
from ..units import size
from .evidence import BOTH, PRESERVATION, Evidence, not_worse
from .intervals import Estimate
from .multiple import holm, sure
from .needed import needed
from .values import Answer
from .words import figure, inside, listed, signed, span, title

LIGHT, MIDDLE, HEAVY = "textual-inversion", "hypernetwork", "dreambooth"


def answers(evidence: Evidence) -> dict[str, Answer]:
    return {
        "textual_inversion_is_enough": _open(evidence, LIGHT) or enough(evidence, LIGHT),
        "dreambooth_is_excessive": _open(evidence, HEAVY) or excessive(evidence, HEAVY),
        "hypernetwork_is_a_middle_ground": _open(evidence, LIGHT, MIDDLE, HEAVY) or middle(evidence),
    }


def enough(evidence: Evidence, light: str) -> Answer:
    """Yes: not worse than any other method by more than the margin in both at once, and learned. No: surely worse.

    Being not worse than every other needs no correction (an intersection-union test); being worse than one does (Holm).
    """
    others = {name: evidence.both(light, name) for name in evidence.singles if name != light}
    measured = {name: difference for name, difference in others.items() if difference}
    if not measured:
        return _undecided(f"There is no other method to compare {inside(light)} with; run at least one more.")
    margin = evidence.margins.both
    doubts = holm({name: each.p_below(-margin) for name, each in measured.items()})
    worse = [name for name in measured if sure(doubts[name])]
    if worse:
        best = min(worse, key=lambda name: measured[name].value)
        return Answer("no", f"{_reach(evidence, light, best)} {_shortfall(measured[best], margin)}")
    if light not in evidence.learned:
        return _undecided(
            f"{_reach(evidence, light)} That is not surely above the bare base; train it longer or on more pictures."
        )
    closest = min(measured, key=lambda name: measured[name].interval().low)
    reach = _reach(evidence, light, closest)
    if not_worse(measured[closest], margin) != "yes":
        crossing = f"The difference, {signed(measured[closest].interval())}, crosses the margin of {figure(-margin)}."
        return _undecided(f"{reach} {crossing} {_clear(evidence, measured[closest], -margin, light, closest)}")
    return Answer("yes", f"{reach} {_within(measured[closest], margin)}")


def excessive(evidence: Evidence, heavy: str) -> Answer:
    """Yes: something lighter is better in both by more than the margin, or is as good and disturbs the base less.

    No: nothing is.
    """
    lighter = [name for name in evidence.singles if name != heavy and lighter_than(evidence, name, heavy)]
    compared = {name: evidence.both(name, heavy) for name in lighter}
    calmer = {name: evidence.difference(PRESERVATION, name, heavy) for name in lighter}
    if not any(compared.values()) or not any(calmer.values()):
        return _undecided(
            f"Nothing lighter than {title(heavy)} was measured for the pictures and for what it does to the base."
        )
    margin = evidence.margins.both
    good = {name: _p_above(compared[name], -margin) if name in evidence.learned else 1.0 for name in lighter}
    gains = {  # two ways to a yes, which share the level
        name: min(1.0, 2 * min(_p_above(calmer[name], 0.0), _p_above(compared[name], margin))) for name in lighter
    }
    every = holm({name: max(good[name], gains[name]) for name in lighter})
    better = [name for name in lighter if sure(every[name])]

    def reason_for(name: str) -> str:
        return f"{_beside(compared[name], name, heavy, margin)} {_disturbs(calmer[name], heavy)}"

    if better:
        return Answer("yes", reason_for(max(better, key=lambda name: _value(compared[name]))))
    open_ = [name for name in lighter if not _ruled_out(evidence, name, heavy)]
    if not open_:
        reason = reason_for(max(lighter, key=lambda name: _value(compared[name])))
        return Answer("no", f"Nothing lighter is as good and disturbs the base less. The nearest: {reason}")
    nearest = max(open_, key=lambda name: (sure(good[name]), _value(compared[name])))
    weak, boundary = (calmer[nearest], 0.0) if sure(good[nearest]) else (compared[nearest], -margin)
    return _undecided(f"{reason_for(nearest)} {_clear(evidence, weak, boundary, nearest, heavy)}")


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
    """Yes: the ends differ, the middle lies between them, each step within the margin, and nothing dominates it.

    No: any of these surely fails; that is several ways to a false "no", which share the level (Holm).
    """
    margin = evidence.margins.both
    ends, up, down = (evidence.both(*pair) for pair in ((HEAVY, LIGHT), (MIDDLE, LIGHT), (HEAVY, MIDDLE)))
    if not (ends and up and down):
        return _undecided("The three methods share no pictures to compare.")
    figures = _three(evidence)
    rivals = [name for name in evidence.singles if name != MIDDLE]
    rises = "The hypernetwork rises above DreamBooth"
    against = {
        f"There is no ground between: DreamBooth less textual inversion is {signed(ends.interval())}.": ends.p_below(
            margin
        ),
        f"The hypernetwork falls below textual inversion, by {signed(up.interval())}.": up.p_below(-margin),
        f"{rises}: DreamBooth less hypernetwork is {signed(down.interval())}.": down.p_below(-margin),
        **{_dominated(evidence, name): domination(evidence, name, MIDDLE) for name in rivals},
    }
    doubts = holm(against)
    for reason in (one for one in against if sure(doubts[one])):
        return Answer("no", f"{figures} {reason}")
    if ends.interval().low <= 0:
        open_ = _clear(evidence, ends, 0.0, HEAVY, LIGHT)
        return _undecided(f"{figures} Whether the ends differ at all is not sure. {open_}")
    for step, pair in ((up, (MIDDLE, LIGHT)), (down, (HEAVY, MIDDLE))):
        if not_worse(step, margin) != "yes":
            open_ = _clear(evidence, step, -margin, *pair)
            return _undecided(f"{figures} Its place between them is not sure. {open_}")
    unsure = [inside(name) for name in rivals if not _ahead_somewhere(evidence, MIDDLE, name)]
    if unsure:
        return _undecided(f"{figures} Whether {listed(unsure)} could do all of it as well is not sure.")
    return Answer("yes", f"{figures} No other method is as good in both, in preservation and in file size.")


def domination(evidence: Evidence, method: str, other: str) -> float:
    """The p-value of Pareto dominance within the margins.

    That is: nowhere worse (both at once, preservation, file size), and surely better in one.
    """
    one, two = evidence.costs.get(method), evidence.costs.get(other)
    if one is None or two is None or one.file_bytes > two.file_bytes:
        return 1.0
    good, calm = evidence.both(method, other), evidence.difference(PRESERVATION, method, other)
    ahead = 0.0 if one.file_bytes < two.file_bytes else 2 * min(_p_above(good, 0.0), _p_above(calm, 0.0))
    margins = evidence.margins
    return max(_p_above(good, -margins.both), _p_above(calm, -margins.preservation), min(ahead, 1.0))


def _dominated(evidence: Evidence, rival: str) -> str:
    smaller = " against ".join(
        size(evidence.costs[name].file_bytes) for name in (rival, MIDDLE) if name in evidence.costs
    )
    return f"But {inside(rival)} is no worse in both at once and in preservation, with a file of {smaller}."


def _ahead_somewhere(evidence: Evidence, method: str, other: str) -> bool:
    one, two = evidence.costs.get(method), evidence.costs.get(other)
    differences = (evidence.both(method, other), evidence.difference(PRESERVATION, method, other))
    smaller = one is not None and two is not None and one.file_bytes < two.file_bytes
    return smaller or any(difference and difference.interval().low > 0 for difference in differences)


def lighter_than(evidence: Evidence, method: str, other: str) -> bool:
    """It attaches to any base where the other moves the base's own weights, or its file is smaller."""
    one, two = evidence.costs.get(method), evidence.costs.get(other)
    if one is None or two is None:
        return False
    return (one.attaches and not two.attaches) or one.file_bytes < two.file_bytes


def _open(evidence: Evidence, *needed_methods: str) -> Answer | None:
    """Undecided for a reason that lies before any comparison; None where the comparison can go ahead."""
    for name in needed_methods:
        if name in evidence.failures and name not in evidence.methods:
            return _undecided(f"{title(name)} failed: {evidence.failures[name].rstrip('.')}.")
    absent = [name for name in needed_methods if name not in evidence.methods]
    if absent:
        return _undecided(f"Not measured in this study: {listed([inside(name) for name in absent])}.")
    if not evidence.anchors.usable:
        return _undecided(no_fidelity(evidence))
    if not evidence.learned:
        return _undecided("No method carried the concept surely above the bare base, so there is nothing to compare.")
    return None


def no_fidelity(evidence: Evidence) -> str:
    """Why fidelity cannot be judged in this study."""
    floor, ceiling = evidence.anchors.floor, evidence.anchors.ceiling
    if floor is None or ceiling is None:
        return "The floor or the ceiling of fidelity was not measured."
    return (
        f"The base already draws it: your pictures resemble each other by {figure(ceiling.value)}, and the bare base"
        f" reaches {figure(floor.value)} with the class word alone;"
        f" under {figure(evidence.margins.gap)} apart, fidelity tells nothing."
    )


def _undecided(evidence: str) -> Answer:
    return Answer("undecided", evidence)


def _clear(evidence: Evidence, difference: Estimate | None, boundary: float, *methods: str) -> str:
    return needed(evidence, difference, methods, abs(_value(difference) - boundary))


def _p_above(difference: Estimate | None, boundary: float) -> float:
    return difference.p_above(boundary) if difference else 1.0


def _value(estimate: Estimate | None) -> float:
    return estimate.value if estimate else -math.inf


def _reach(evidence: Evidence, method: str, other: str = BASE) -> str:
    beside = f"; {inside(other)} reaches {_level(evidence, other)}" if other != BASE else ""
    return (
        f"{title(method)} reaches {_level(evidence, method)} in both at once, likeness and prompt (1: your own pictures"
        f" with everything there){beside}."
    )


def _level(evidence: Evidence, method: str) -> str:
    return figure(_value(evidence.mean(BOTH, method)))


def _three(evidence: Evidence) -> str:
    reached = [f"{inside(name)} {_level(evidence, name)}" for name in (LIGHT, MIDDLE, HEAVY)]
    return f"Both at once: {listed(reached)}."


def _shortfall(difference: Estimate, margin: float) -> str:
    interval = difference.interval()
    return (
        f"It falls short by {figure(-interval.value)} (interval {figure(-interval.high)} to {figure(-interval.low)}),"
        f" more than the margin of {figure(margin)}."
    )


def _within(difference: Estimate, margin: float) -> str:
    return f"The difference, {signed(difference.interval())}, stays above the margin of {figure(-margin)}."


def _beside(difference: Estimate | None, method: str, other: str, margin: float) -> str:
    if difference is None:
        return f"{title(method)} was not compared with {title(other)}."
    interval = difference.interval()
    decision = not_worse(difference, margin)
    how = {
        "yes": f"is as good as {inside(other)} in both at once, within the margin of {figure(margin)}",
        "no": f"is behind {inside(other)} in both at once by more than the margin of {figure(margin)}",
        "undecided": f"may be behind {inside(other)} in both at once by more than the margin of {figure(margin)}",
    }[decision]
    if interval.low > margin:
        how = f"is ahead of {inside(other)} in both at once by more than the margin of {figure(margin)}"
    value = figure(interval.value, signed=True)
    return f"{title(method)} {how}: the difference is {value} ({span(interval, signed=True)})."


def _disturbs(difference: Estimate | None, other: str) -> str:
    if difference is None:
        return "What it does to the rest of the base was not measured."
    interval = difference.interval()
    how = "disturbs the base less" if interval.low > 0 else "does not surely disturb the base less"
    if interval.high < 0:
        how = "disturbs the base more"
    value = figure(interval.value, signed=True)
    return f"It {how} than {inside(other)}: preservation differs by {value} ({span(interval, signed=True)})."
