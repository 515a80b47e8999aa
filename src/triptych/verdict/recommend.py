"""Which method to take for a need: of those that learned the concept and are not behind, the one that serves it best.

Every need is one line of `RULES`: how it ranks methods, and the sentence that gives the figure.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from ..scores import parts_of
from ..units import duration, size
from .answers import lighter_than, no_fidelity
from .evidence import PORTABILITY, PRESERVATION, PROMPT, Evidence, not_worse, surely_not_worse
from .intervals import Estimate, Interval
from .multiple import holm, sure
from .needed import needed
from .values import NEEDS, Choice, Need, Recommendation
from .words import figure, inside, listed, signed, span, title

Rank = tuple[float, ...] | None


@dataclass(frozen=True)
class Rule:
    """How a need ranks methods (smaller is better, None where it was not measured), and why in a sentence."""

    rank: Callable[[Evidence, str], Rank]
    reason: Callable[[Evidence, str], str]
    caveat: Callable[[Evidence, str], str] = lambda _, __: ""  # what to know of the method chosen for it


def recommend(evidence: Evidence, need: Need) -> Recommendation:
    by_need = {each: _choose(evidence, each) for each in NEEDS}
    return Recommendation(need, by_need[need], by_need)


def _choose(evidence: Evidence, need: Need) -> Choice:
    if not evidence.anchors.usable:
        return Choice(None, None, (no_fidelity(evidence),))
    if not evidence.learned:
        return Choice(None, None, (_nothing_learned(evidence),))
    rule, best = RULES[need], evidence.learned[0]
    served = [name for name in evidence.learned if rule.rank(evidence, name) is not None]
    if not served:
        return Choice(None, None, (f"No method that carried the concept was measured for this need ({need}).",))
    field, caveat = _field(evidence, served, best)
    passed_over = _outdone(evidence, field)
    field = [name for name in field if name not in passed_over]
    ranked = sorted(field, key=lambda name: (rule.rank(evidence, name) or (), evidence.learned.index(name)))
    chosen = ranked[0]
    others = [name for name in evidence.learned if name != chosen and name not in passed_over]
    second = next(iter([*ranked[1:], *others]), None)
    reasons = [rule.reason(evidence, chosen)]
    if need != "fidelity":
        reasons.append(_fidelity_reason(evidence, chosen))
    reasons += [_why_not(evidence, name, other) for name, other in passed_over.items()]
    if second:
        reasons.append(_against(evidence, chosen, second))
    if chosen in evidence.memorised:
        reasons.append(
            "Look at its pictures before you take it: they come nearer to training pictures than is natural."
        )
    unsure = (caveat,) if caveat and need != "fidelity" and (chosen != best or len(field) == 1) else ()
    changes = _would_change(evidence, chosen, second) if need == "fidelity" else _would_drop(evidence, chosen, best)
    caveats = _all_parts(chosen) + ((told,) if (told := rule.caveat(evidence, chosen)) else ())
    return Choice(chosen, second, tuple(reasons), caveats + unsure, changes)


def _all_parts(chosen: str) -> tuple[str, ...]:
    parts = [inside(part) for part in parts_of(chosen)]
    if len(parts) == 1:
        return ()
    return (
        f"This is a combination and no method of its own: it needs {listed(parts)}, all of them trained and attached"
        " at once; what is told of its file and time is the sum.",
    )


def _would_change(evidence: Evidence, chosen: str, second: str | None) -> str:
    """What would make the runner-up the choice, as far as fidelity says."""
    difference = evidence.fidelity(second, chosen) if second else None
    if difference is None or second is None:
        return ""
    interval, margin, other = difference.interval(), evidence.margins.fidelity, inside(second)
    if interval.low > 0:
        return f"If fidelity alone counted, {other} would be the choice."
    if interval.high < -margin:
        return f"For {other} to be the choice, it would have to gain more than {figure(-interval.high)} in fidelity."
    what = needed(evidence, difference, (chosen, second), abs(difference.value), margin - abs(difference.value))
    return f"A sure lead of {other} in fidelity would change it. {what}"


def _would_drop(evidence: Evidence, chosen: str, best: str) -> str:
    """What would take a choice that serves its need out of those who are faithful enough."""
    difference = evidence.fidelity(chosen, best)
    if chosen == best or difference is None or not_worse(difference, evidence.margins.fidelity) != "undecided":
        return ""
    what = needed(evidence, difference, (chosen, best), abs(difference.value + evidence.margins.fidelity))
    return f"It would have to go if it were surely behind {inside(best)} in fidelity by more than the margin. {what}"


def _field(evidence: Evidence, served: list[str], best: str) -> tuple[list[str], str]:
    """Who may be chosen, with what to know: those within the margin of the best, else those perhaps, else all."""
    margin = evidence.margins.fidelity
    others = {name: evidence.fidelity(name, best) for name in served if name != best}
    sure = surely_not_worse(others, margin)
    perhaps = [name for name in others if name in sure or not_worse(others[name], margin) != "no"]
    for level, caveat in (
        (sure, ""),
        (perhaps, f"Whether it is within the margin ({figure(margin)}) of {inside(best)} in fidelity is not sure."),
    ):
        if level:
            return [name for name in served if name == best or name in level], caveat
    if best in served:
        return [best], "Every other method is surely less faithful, by more than the margin." if others else ""
    return served, f"It is surely less faithful than {inside(best)}: this need costs fidelity."


def _outdone(evidence: Evidence, field: list[str]) -> dict[str, str]:
    """Who of the field is passed over, and for whom: it surely keeps less of prompts, and more than the margin less.

    A choice has to be made on what there is, where an answer ("no") waits until the margin is surely exceeded.
    """
    found = {}
    for name in field:
        doubts = holm(evidence.follow_better(name, field, 0.0))
        if ahead := _farthest_ahead(evidence, name, doubts):
            found[name] = ahead
    return found


def _farthest_ahead(evidence: Evidence, name: str, doubts: Mapping[str, float]) -> str | None:
    """Of those that surely keep more of prompts than `name`, the one that keeps most, if it is more than the margin."""
    lost = {other: _lost(evidence, name, other) for other, doubt in doubts.items() if sure(doubt)}
    farthest = max(lost, key=lambda other: lost[other], default=None)
    return farthest if farthest and lost[farthest] > evidence.margins.prompt else None


def _lost(evidence: Evidence, name: str, other: str) -> float:
    """How much less of prompts it keeps."""
    difference = evidence.difference(PROMPT, name, other)
    return -difference.value if difference else 0.0


def _why_not(evidence: Evidence, name: str, other: str) -> str:
    difference = evidence.difference(PROMPT, name, other)
    assert difference is not None
    return (
        f"{title(name)} is passed over, since it loses more of what prompts ask for than {inside(other)},"
        f" which is not surely less faithful: {signed(difference.interval())}."
    )


def _nothing_learned(evidence: Evidence) -> str:
    tried = listed([inside(name) for name in evidence.methods]) if evidence.methods else "no method"
    return (
        f"Nothing carried the concept surely above the bare base (measured: {tried})."
        " Try more steps (a larger --budget), more or clearer pictures, or another class word."
    )


def _fidelity_reason(evidence: Evidence, method: str) -> str:
    interval = _fidelity(evidence, method)
    how_far = f"{figure(interval.value)} ({span(interval)})"
    return f"It goes {how_far} of the way from the bare base (0) to your own pictures (1)."


def _fidelity(evidence: Evidence, method: str) -> Interval:
    return _estimate(evidence, method).interval()


def _estimate(evidence: Evidence, method: str) -> Estimate:
    estimate = evidence.fidelity(method)
    assert estimate is not None  # what has learned the concept has a fidelity
    return estimate


def _against(evidence: Evidence, method: str, second: str) -> str:
    difference = evidence.fidelity(method, second)
    if difference is None:
        return f"The runner-up is {inside(second)}."
    interval = difference.interval()
    if interval.low > 0:
        return f"The runner-up, {inside(second)}, is behind in fidelity by {figure(interval.value)} ({span(interval)})."
    if interval.high < 0:
        ahead = f"{figure(-interval.value)} ({figure(-interval.high)} to {figure(-interval.low)})"
        return f"The runner-up, {inside(second)}, is ahead in fidelity by {ahead}."
    text = f"The runner-up, {inside(second)}, cannot be told apart in fidelity"
    if lighter_than(evidence, second, method) and (costs := evidence.costs):
        text += f" and is lighter, {size(costs[second].file_bytes)} against {size(costs[method].file_bytes)}"
    return f"{text}: the difference is {figure(interval.value, signed=True)} ({span(interval, signed=True)})."


def _editability(evidence: Evidence, method: str) -> Rank:
    """First those that follow prompts as well as the best, by how well they preserve the base; then the others."""
    prompts = {name: each for name in evidence.learned if (each := evidence.mean(PROMPT, name))}
    calm = evidence.mean(PRESERVATION, method)
    if evidence.blind and calm:
        return 0.0, -calm.value
    if method not in prompts:
        return None
    best = max(prompts, key=lambda name: prompts[name].value)
    behind = evidence.difference(PROMPT, method, best)
    if method == best or not_worse(behind, evidence.margins.prompt) == "yes":
        return 0.0, -calm.value if calm else 0.0
    return 1.0, -prompts[method].value


def _editability_reason(evidence: Evidence, method: str) -> str:
    parts = []
    for name, metric in (("follows prompts", PROMPT), ("leaves the rest of the base as it was", PRESERVATION)):
        estimate = evidence.mean(metric, method)
        if estimate:
            interval = estimate.interval()
            parts.append(f"{name} to {figure(interval.value)} ({span(interval)})")
    return f"It {' and '.join(parts)}, of 1."


def _follows_better(evidence: Evidence, chosen: str) -> str:
    """Who surely keeps more of prompts, as measured by more than the margin, and what that costs in fidelity."""
    behind = {name: evidence.difference(PROMPT, chosen, name) for name in evidence.learned if name != chosen}
    doubts = holm({name: difference.p_below(0) for name, difference in behind.items() if difference})
    other = _farthest_ahead(evidence, chosen, doubts)
    prompts = evidence.difference(PROMPT, other, chosen) if other else None
    fidelity = evidence.fidelity(other, chosen) if other else None
    if other is None or prompts is None or fidelity is None:
        return ""
    return (
        f"{title(other)} follows prompts better, {signed(prompts.interval())}, for {signed(fidelity.interval())}"
        " in fidelity: if the prompt matters more to you than the likeness, take it."
    )


def _file_reason(evidence: Evidence, method: str) -> str:
    cost = evidence.costs[method]
    return f"The smallest file of those considered: {size(cost.file_bytes)}, {cost.parameters:,} trained numbers."


def _time_reason(evidence: Evidence, method: str) -> str:
    seconds = evidence.costs[method].seconds_alone or 0.0
    return f"The shortest training of those considered: {duration(seconds)} alone on this machine."


def _attaches(evidence: Evidence, method: str) -> Rank:
    cost = evidence.costs.get(method)
    there = evidence.compare(PORTABILITY, method)
    return (-(there or _estimate(evidence, method)).value,) if cost and cost.attaches else None


def _portable_reason(evidence: Evidence, method: str) -> str:
    there = evidence.compare(PORTABILITY, method)
    if there is None:
        return "It is a file that attaches to any base of the same family; the most faithful of those that do."
    how_far = f"{figure(there.value)} ({span(there.interval())})"
    return f"It attaches to any base of the family; on the other base that was tried it goes {how_far} of the way."


def _file(evidence: Evidence, method: str) -> Rank:
    cost = evidence.costs.get(method)
    return (cost.file_bytes,) if cost else None


def _time(evidence: Evidence, method: str) -> Rank:
    cost = evidence.costs.get(method)
    return (cost.seconds_alone,) if cost and cost.seconds_alone is not None else None


RULES: dict[Need, Rule] = {
    "fidelity": Rule(lambda evidence, method: (-_fidelity(evidence, method).value,), _fidelity_reason),
    "editability": Rule(_editability, _editability_reason, _follows_better),
    "small": Rule(_file, _file_reason),
    "portable": Rule(
        _attaches,
        _portable_reason,
        lambda evidence, _: (
            "" if PORTABILITY in evidence.tables else "Drawing with it on a second base was not measured here."
        ),
    ),
    "fast": Rule(_time, _time_reason),
}
