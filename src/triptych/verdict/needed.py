"""What would decide an open comparison, and what that costs on this machine."""

import math
from collections.abc import Sequence

from ..scores import BASE
from ..units import duration
from .evidence import Evidence
from .intervals import Estimate

SEEDS = 3  # training seeds, from which an interval says something about other trainings
MOST = 7  # times narrower than now: what lies nearer to the boundary is taken for lying on it


def needed(evidence: Evidence, difference: Estimate | None, methods: Sequence[str], *distances: float) -> str:
    """A sentence on how much more of what would bring the interval clear.

    Its width falls by the square root of what is measured. `distances`: from the value to each boundary that would
    decide; the farthest is the cheapest. `methods`: those compared.
    """
    runs = evidence.replicates
    if difference is None or difference.deviations.size == 0:
        return f"More pictures a prompt and {SEEDS} training seeds would be needed."
    interval = difference.interval()
    half, distance = (interval.high - interval.low) / 2, max(distances, default=0.0)
    if distance <= half / MOST:
        return "The truth seems to lie so near the margin that more measuring is unlikely to decide it."
    times = max(math.ceil((half / distance) ** 2), 1 if runs == 1 else 2)
    if runs == 1:
        then = f", and then about {times} times the pictures" if times > 1 else ""
        what, seconds = f"{SEEDS} training seeds{then}", _seconds(evidence, methods, SEEDS * times - 1, SEEDS - 1)
    elif difference.training_share > 0.5:
        what = f"about {times * runs} training seeds instead of {runs}"
        seconds = _seconds(evidence, methods, (times - 1) * runs, (times - 1) * runs)
    else:
        what, seconds = f"about {times} times the prompts", _seconds(evidence, methods, (times - 1) * runs, 0)
    price = f" ({duration(seconds)} more on this machine)" if seconds else ""
    return f"What would decide it: {what}{price}."


def _seconds(evidence: Evidence, methods: Sequence[str], sheets: int, trainings: int) -> float:
    """Of `trainings` more trainings of each method, and of drawing a run's pictures `sheets` more times; 0: unknown."""
    costs = [evidence.costs.get(name) for name in methods if name != BASE]
    seconds = 0.0
    for cost in costs:
        if cost is None or cost.seconds_alone is None:
            return 0.0
        seconds += trainings * cost.seconds_alone + sheets * evidence.pictures * (cost.seconds_a_picture or 0.0)
    return seconds
