"""What a need weighs: the headline figure, scaled by how well declared criteria serve the need.

    value = both x (1 - sum of the weights + sum of weight x criterion)

Every criterion lies between 0 (of no use for the need) and 1 (as good as can be), on a scale that is stated here and
depends on no other row of the study. So a need can at most scale the headline down: what has forgotten the prompt or
does not show the concept is worth nothing for any need, however small its file.
"""

import math
from collections.abc import Callable, Mapping

from ..scores import Cost
from .evidence import BOTH, FIDELITY, PORTABILITY, PRESERVATION, PROMPT, Evidence
from .intervals import Estimate
from .values import Need
from .words import figure

SIZE, TIME = "file size", "training time"
SMALLEST, LARGEST = 1e3, 1e10  # bytes at which the scale of files is 1 and 0; it is logarithmic
SHORTEST, LONGEST = 1.0, 1e5  # seconds alone, likewise

WEIGHTS: dict[Need, dict[str, float]] = {
    "fidelity": {FIDELITY: 0.5},
    "editability": {PROMPT: 0.25, PRESERVATION: 0.25},
    "small": {SIZE: 0.8},
    "portable": {PORTABILITY: 1.0},
    "fast": {TIME: 0.8},
}


def formula(weights: Mapping[str, float]) -> str:
    """`both x (0.20 + 0.80 x file size)`."""
    rest, times = 1 - sum(weights.values()), "\N{MULTIPLICATION SIGN}"
    terms = [figure(rest)] if rest > 1e-9 else []
    terms += [f"{figure(weight)} {times} {name.replace('_', ' ')}" for name, weight in weights.items()]
    return f"both {times} ({' + '.join(terms)})" if weights else "both"


def worth(evidence: Evidence, need: Need, method: str) -> float | None:
    """What one unit of the headline figure is worth for a need, 0..1; None where a criterion was not measured."""
    weights = weights_of(evidence, need)
    levels = {criterion: _level(evidence, criterion, method) for criterion in weights}
    if None in levels.values():
        return None
    return 1 - sum(weights.values()) + sum(weight * (levels[name] or 0.0) for name, weight in weights.items())


def weights_of(evidence: Evidence, need: Need) -> Mapping[str, float]:
    """The weights of the criteria that this study can tell: prompts that nobody could read weigh nothing."""
    return {name: weight for name, weight in WEIGHTS[need].items() if name != PROMPT or name in evidence.tables}


def value(evidence: Evidence, need: Need, method: str) -> float | None:
    """What a method is worth for a need, where 1 is as good as can be; None where something was not measured."""
    scale, both = worth(evidence, need, method), evidence.mean(BOTH, method)
    return scale * both.value if scale is not None and both else None


def lead(evidence: Evidence, need: Need, method: str, other: str) -> Estimate | None:
    """How much more one is worth than another; the criteria beside the headline are taken as measured."""
    mine, its = worth(evidence, need, method), worth(evidence, need, other)
    if mine is None or its is None:
        return None
    return evidence.tables[BOTH].weighed({method: mine, other: -its})


def _level(evidence: Evidence, criterion: str, method: str) -> float | None:
    level = (
        COSTS[criterion](evidence.costs.get(method)) if criterion in COSTS else _measured(evidence, criterion, method)
    )
    return None if level is None else min(1.0, max(0.0, level))


def _measured(evidence: Evidence, criterion: str, method: str) -> float | None:
    """Portability is 0 for what moves the base's own weights, and 1 for a file where no second base was tried."""
    if criterion != PORTABILITY:
        return evidence.level(criterion, method)
    cost = evidence.costs.get(method)
    if cost is None:
        return None
    there = evidence.level(PORTABILITY, method)
    return (1.0 if there is None else there) if cost.attaches else 0.0


def _on_scale(amount: float | None, best: float, worst: float) -> float | None:
    return None if amount is None else math.log(worst / max(amount, best)) / math.log(worst / best)


COSTS: dict[str, Callable[[Cost | None], float | None]] = {
    SIZE: lambda cost: _on_scale(cost.file_bytes if cost else None, SMALLEST, LARGEST),
    TIME: lambda cost: _on_scale(cost.seconds_alone if cost else None, SHORTEST, LONGEST),
}
