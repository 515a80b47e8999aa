"""The trade-off behind each need: one plot of two criteria per need, with its Pareto front."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from ..units import duration, size
from ..verdict import NEEDS, Verdict
from ..verdict.front import front
from ..verdict.intervals import Interval
from ..verdict.words import title
from . import scatter
from .colours import slot


@dataclass(frozen=True)
class Trade:
    """One plot. `front` lists the methods that no other method beats on both axes."""

    name: str  # of its button
    plot: Markup
    front: tuple[str, ...]
    meaning: str  # what higher and further right mean, in words


@dataclass(frozen=True)
class Axis:
    """An axis: its title, what more of it means, and the value of a method (None where it was not measured)."""

    title: str
    meaning: str
    value: Callable[[Verdict, str], Interval | None]
    words: Callable[[float], str] | None = None  # the text of a tick, on a logarithmic axis that grows to the left


def _measured(criterion: str) -> Callable[[Verdict, str], Interval | None]:
    return lambda verdict, method: verdict.methods[method].get(criterion)


def _bytes(verdict: Verdict, method: str) -> Interval | None:
    cost = verdict.costs.get(method)
    return _less_is_right(cost.file_bytes) if cost else None


def _seconds(verdict: Verdict, method: str) -> Interval | None:
    cost = verdict.costs.get(method)
    return _less_is_right(cost.seconds_alone) if cost and cost.seconds_alone else None


def _less_is_right(amount: float) -> Interval:
    return Interval(-math.log10(max(amount, 1e-3)), -math.inf, math.inf, 1)


BOTH = Axis("both at once", "is closer to your pictures and the prompt", _measured("both"))
FIDELITY = Axis("subject fidelity", "is more like your pictures", _measured("fidelity"))
PROMPTS = Axis("prompt fidelity", "follows the prompt better", _measured("prompt_fidelity"))
CALM = Axis("base preservation", "changes the rest of the base less", _measured("base_preservation"))
TRADES = {  # need -> name of its button, horizontal axis, vertical axis
    "fidelity": ("both and preservation", CALM, BOTH),
    "editability": ("likeness and prompt", PROMPTS, FIDELITY),
    "small": ("both and file size", Axis("size of the file", "is a smaller file", _bytes, size), BOTH),
    "fast": ("both and training time", Axis("training alone", "trains in less time", _seconds, duration), BOTH),
    "portable": (
        "both and portability",
        Axis("fidelity on another base", "carries over to another base", _measured("portability")),
        BOTH,
    ),
}


def trades(verdict: Verdict, methods: Sequence[str]) -> list[Trade]:
    """The plots of all needs that two or more methods were measured for. The study's own need comes first."""
    needs = sorted(NEEDS, key=lambda need: need != verdict.recommendation.need)
    return [trade for need in needs if (trade := _trade(verdict, methods, *TRADES[need]))]


def _trade(verdict: Verdict, methods: Sequence[str], name: str, across: Axis, up: Axis) -> Trade | None:
    points = {
        method: (x, y)
        for method in methods
        if (x := across.value(verdict, method)) is not None and (y := up.value(verdict, method)) is not None
    }
    if len(points) < 2:
        return None
    best = front({method: (y.value, x.value) for method, (x, y) in points.items()})
    marks = [scatter.Point(title(method), slot(method), x, y) for method, (x, y) in points.items()]
    words = across.words
    labels = (lambda low, high: _log_ticks(low, high, words)) if words else None
    plot = scatter.scatter(marks, [title(method) for method in best], across.title, up.title, labels)
    meaning = f"Higher {up.meaning}; further right {across.meaning}."
    return Trade(name, Markup(plot), best, meaning)


def _log_ticks(low: float, high: float, words: Callable[[float], str]) -> list[tuple[float, str]]:
    """Ticks at powers of ten, and at 3 times them on a short axis. The axis grows to the left."""
    values = [
        factor * 10.0**power
        for power in range(math.floor(-high) - 1, math.ceil(-low) + 1)
        for factor in ((1, 3) if high - low < 3 else (1,))
    ]
    return [(-math.log10(value), words(value)) for value in values if low <= -math.log10(value) <= high]
