"""The sentences that answers are made of, with their figures."""

from ..scores import BASE
from ..units import size
from .evidence import BOTH, Evidence
from .intervals import Estimate
from .words import figure, inside, listed, signed, span, title


def reach(evidence: Evidence, method: str, other: str = BASE) -> str:
    beside = f"; {inside(other)} reaches {level(evidence, other)}" if other != BASE else ""
    return (
        f"{title(method)} reaches {level(evidence, method)} in both at once, likeness and prompt (1: your own pictures"
        f" with everything there){beside}."
    )


def level(evidence: Evidence, method: str) -> str:
    estimate = evidence.mean(BOTH, method)
    return figure(estimate.value) if estimate else "?"


def levels(evidence: Evidence, *methods: str) -> str:
    return f"Both at once: {listed([f'{inside(name)} {level(evidence, name)}' for name in methods])}."


def shortfall(difference: Estimate, margin: float) -> str:
    interval = difference.interval()
    return (
        f"It falls short by {figure(-interval.value)} (interval {figure(-interval.high)} to {figure(-interval.low)}),"
        f" more than the margin of {figure(margin)}."
    )


def within(difference: Estimate, margin: float) -> str:
    return f"The difference, {signed(difference.interval())}, stays above the margin of {figure(-margin)}."


def beside(difference: Estimate | None, method: str, other: str, margin: float) -> str:
    if difference is None:
        return f"{title(method)} was not compared with {title(other)}."
    interval = difference.interval()
    if interval.low > margin:
        how = f"is ahead of {inside(other)} in both at once by more than the margin of {figure(margin)}"
    elif interval.low > 0:
        how = f"is ahead of {inside(other)} in both at once"
    elif interval.low > -margin:
        how = f"is as good as {inside(other)} in both at once, within the margin of {figure(margin)}"
    elif interval.high < -margin:
        how = f"is behind {inside(other)} in both at once by more than the margin of {figure(margin)}"
    else:
        how = f"may be behind {inside(other)} in both at once by more than the margin of {figure(margin)}"
    value = figure(interval.value, signed=True)
    return f"{title(method)} {how}: the difference is {value} ({span(interval, signed=True)})."


def disturbs(difference: Estimate | None, other: str) -> str:
    if difference is None:
        return "What it does to the rest of the base was not measured."
    interval = difference.interval()
    how = "disturbs the base less" if interval.low > 0 else "does not surely disturb the base less"
    if interval.high < 0:
        how = "disturbs the base more"
    value = figure(interval.value, signed=True)
    return f"It {how} than {inside(other)}: preservation differs by {value} ({span(interval, signed=True)})."


def dominates(evidence: Evidence, rival: str, method: str) -> str:
    smaller = " against ".join(
        size(evidence.costs[name].file_bytes) for name in (rival, method) if name in evidence.costs
    )
    return f"But {inside(rival)} is no worse in both at once and in preservation, with a file of {smaller}."


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
