"""Which method to take for a need: of those that learned the concept and copy nothing, the one that is worth most.

What a need weighs is declared in `weighing`. A recommendation is stated with its regret: the chance, over draws of all
methods' true means, that another one is better for the need by more than the margin.
"""

from collections.abc import Callable

import numpy as np

from ..scores import parts_of
from ..units import duration, size
from .answers import learning, lighter_than
from .evidence import BOTH, PORTABILITY, PRESERVATION, PROMPT, Evidence
from .intervals import Interval
from .needed import needed, sentence
from .phrases import no_fidelity
from .values import NEEDS, Choice, Further, Need, Recommendation
from .weighing import lead, value, worth
from .words import figure, inside, listed, percent, signed, span, title

NAMED = 0.005  # the chance from which the one that may be better is named


def recommend(evidence: Evidence, need: Need) -> Recommendation:
    by_need = {each: choose(evidence, each) for each in NEEDS}
    return Recommendation(need, by_need[need], by_need)


def choose(evidence: Evidence, need: Need) -> Choice:
    if not evidence.anchors.usable:
        return Choice(None, None, (no_fidelity(evidence),))
    if not evidence.learned:
        more = learning(evidence)
        return Choice(None, None, (_nothing_learned(evidence, more),), further=more)
    honest = [name for name in evidence.learned if name not in evidence.copied]
    if not honest:
        copies = listed([inside(name) for name in evidence.learned])
        return Choice(None, None, (f"What carried the concept gives training pictures back: {copies}.",))
    worths = {name: worth for name in honest if (worth := value(evidence, need, name)) is not None and worth > 0}
    if not worths:
        return Choice(None, None, (f"No method that carried the concept was measured for this need ({need}).",))
    ranked = sorted(worths, key=lambda name: -worths[name])
    chosen, second = ranked[0], ranked[1] if len(ranked) > 1 else None
    risk, rival = regret(evidence, need, chosen)
    reasons = [regret_sentence(risk, rival, evidence.margins.both)] if risk is not None else []
    reasons.append(_both_reason(evidence, chosen))
    reasons += [reason] if (reason := REASONS[need](evidence, chosen)) else []
    reasons += [_against(evidence, need, chosen, second)] if second else []
    caveats = (*_all_parts(chosen), *_unmeasured(evidence, need), *_close(evidence, need, chosen, second))
    change, further = _would_change(evidence, need, chosen, second)
    return Choice(chosen, second, tuple(reasons), caveats, change, risk, rival, further)


def regret(evidence: Evidence, need: Need, chosen: str) -> tuple[float | None, str | None]:
    """The chance that another is better for the need by more than the margin, and the one that most often is.

    What surely copies is no alternative; what has not surely learned the concept may turn out to be one. None where
    nothing can be told of the chances.
    """
    draws = evidence.draws.get(BOTH, {})
    alone = [name for name in evidence.methods if name not in evidence.copied]
    values = {name: each * draws[name] for name in alone if name in draws and (each := worth(evidence, need, name))}
    if chosen not in values:
        return None, None
    others = [name for name in values if name != chosen]
    if not others:
        return 0.0, None
    ahead = np.stack([values[name] - values[chosen] for name in others])
    best = ahead.argmax(axis=0)
    worse = ahead.max(axis=0) > evidence.margins.both
    risk = float(worse.mean())
    if risk < NAMED:
        return risk, None
    return risk, others[int(np.bincount(best[worse], minlength=len(others)).argmax())]


def regret_sentence(risk: float, rival: str | None, margin: float) -> str:
    named = f"; most likely it would be {inside(rival)}" if rival else ""
    return f"The chance that another is better for this need by more than {figure(margin)} is {percent(risk)}{named}."


def _both_reason(evidence: Evidence, method: str) -> str:
    interval = evidence.measured(BOTH, method).interval()
    fidelity, prompts = evidence.compare("fidelity", method), evidence.mean(PROMPT, method)
    likeness = f"; {figure(fidelity.value)} in likeness alone" if fidelity else ""
    beside = f" and {figure(prompts.value)} in what the prompts ask for" if prompts else ""
    return (
        f"It reaches {figure(interval.value)} ({span(interval)}) in both at once, likeness and prompt, where 1 is your"
        f" own pictures with everything there{likeness}{beside}."
    )


def _against(evidence: Evidence, need: Need, chosen: str, second: str) -> str:
    """How the runner-up stands, in both at once and for the need."""
    ahead, both = lead(evidence, need, chosen, second), evidence.both(chosen, second)
    if ahead is None or both is None:
        return f"The runner-up is {inside(second)}."
    interval = ahead.interval()
    standing = f"The runner-up is {inside(second)}, {_behind(both.interval())} in both at once"
    lighter = ""
    if lighter_than(evidence, second, chosen) and (costs := evidence.costs):
        lighter = f"; it is lighter, {size(costs[second].file_bytes)} against {size(costs[chosen].file_bytes)}"
    sure = "surely behind" if interval.low > 0 else "not surely behind"
    return f"{standing}{lighter}. As this need weighs it, it is {sure}: {signed(interval)}."


def _behind(interval: Interval) -> str:
    if interval.value >= 0:
        return f"behind by {figure(interval.value)} ({span(interval)})"
    return f"ahead by {figure(-interval.value)} ({figure(-interval.high)} to {figure(-interval.low)})"


def _close(evidence: Evidence, need: Need, chosen: str, second: str | None) -> tuple[str, ...]:
    ahead = lead(evidence, need, chosen, second) if second else None
    if ahead is None or second is None or ahead.interval().low > 0:
        return ()
    return (f"{title(chosen)} is measured ahead of {inside(second)} for this need, but not surely.",)


def _would_change(evidence: Evidence, need: Need, chosen: str, second: str | None) -> tuple[str, Further | None]:
    ahead = lead(evidence, need, chosen, second) if second else None
    if ahead is None or second is None:
        return "", None
    interval = ahead.interval()
    if interval.low > 0:
        return f"For {inside(second)} to be the choice, it would have to gain more than {figure(interval.low)}.", None
    what = needed(evidence, ahead, abs(ahead.value))
    return f"A sure lead of {inside(second)} would change it. {sentence(evidence, what)}", what


def _all_parts(chosen: str) -> tuple[str, ...]:
    parts = [inside(part) for part in parts_of(chosen)]
    if len(parts) == 1:
        return ()
    return (
        f"This is a combination and no method of its own: it needs {listed(parts)}, all of them trained and attached"
        " at once; its file size and time are their sums.",
    )


def _unmeasured(evidence: Evidence, need: Need) -> tuple[str, ...]:
    unmeasured = need == "portable" and PORTABILITY not in evidence.tables
    return ("Sampling with it on a second base was not measured here.",) if unmeasured else ()


def _nothing_learned(evidence: Evidence, further: Further | None) -> str:
    tried = listed([inside(name) for name in evidence.methods]) if evidence.methods else "no method"
    advice = f"{sentence(evidence, further)} If that finds nothing, try" if further else "Try"
    return (
        f"Nothing carried the concept surely above the bare base with the prompt kept (measured: {tried})."
        f" {advice} more steps (a larger budget), more or clearer pictures, or another class word."
    )


def _editable(evidence: Evidence, method: str) -> str:
    parts = []
    for name, metric in (("follows prompts", PROMPT), ("leaves the rest of the base as it was", PRESERVATION)):
        estimate = evidence.mean(metric, method)
        if estimate:
            interval = estimate.interval()
            parts.append(f"{name} to {figure(interval.value)} ({span(interval)})")
    return f"It {' and '.join(parts)}, of 1." if parts else ""


def _file(evidence: Evidence, method: str) -> str:
    cost = evidence.costs[method]
    return f"Its file has {size(cost.file_bytes)}, {cost.parameters:,} trained numbers."


def _time(evidence: Evidence, method: str) -> str:
    return f"Its training takes {duration(evidence.costs[method].seconds_alone or 0.0)} alone on this machine."


def _portable(evidence: Evidence, method: str) -> str:
    there = evidence.compare(PORTABILITY, method)
    if there is None:
        return "It is a file that attaches to any base of the same family."
    how_far = f"{figure(there.value)} ({span(there.interval())})"
    return f"It attaches to any base of the family; on the other base that was tried it goes {how_far} of the way."


REASONS: dict[Need, Callable[[Evidence, str], str]] = {
    "fidelity": lambda *_: "",
    "editability": _editable,
    "small": _file,
    "portable": _portable,
    "fast": _time,
}
