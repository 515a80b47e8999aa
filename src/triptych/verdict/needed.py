"""What would decide an open comparison, and what that costs on this machine."""

import math
from collections.abc import Iterator
from dataclasses import replace

from ..scores import Cost, parts_of
from ..units import duration
from .evidence import Evidence
from .intervals import ALPHA, Estimate, Part
from .values import Further

MOST = 16  # times the prompts, and times the trainings, beyond which nobody would go


def needed(evidence: Evidence, difference: Estimate | None, *distances: float, among: int = 1) -> Further | None:
    """The cheapest study whose interval would be clear of a boundary; None where none of a sensible size would.

    The variance of the trainings falls with their number, that of the prompts with theirs, and Student's t with both.
    With one training nothing is known of others, and only prompts are added.

    Args:
        evidence: of the study as it is.
        difference: what is not clear.
        distances: from its value to each boundary that would decide; the farthest is the cheapest.
        among: of how many comparisons it is one, which share the level.
    """
    distance, prompts, trainings = max(distances, default=0.0), evidence.prompts, evidence.replicates
    if difference is None or not (difference.known and prompts):
        return None
    fitting = [
        Further(more, runs, seconds(evidence, more, runs))
        for more, runs in _sizes(prompts, trainings)
        if evidence.over == "trainings" or more == prompts  # a concept's figure has no more prompts
        if larger(difference, more / prompts, runs, trainings).half(ALPHA / among) < distance
    ]
    if not fitting:
        return None
    return min(fitting, key=lambda study: (study.seconds or 0.0, study.prompts * study.trainings))


def _sizes(prompts: int, trainings: int) -> Iterator[tuple[int, int]]:
    """Twice, four times, ... the prompts; and more trainings, where there are several."""
    runs = range(trainings, trainings * MOST + 1) if trainings > 1 else (1,)
    times = [2**power for power in range(int(math.log2(MOST)) + 1)]
    return ((prompts * more, many) for more in times for many in runs if (more, many) != (1, trainings))


def larger(estimate: Estimate, times: float, runs: int, before: int) -> Estimate:
    """What to expect of the estimate with so many times the prompts, and so many trainings instead of `before`."""
    parts = []
    for part in estimate.parts:
        if part.source == "trainings":
            more, freedom = runs / before, part.freedom * (runs - 1) / (before - 1)
        elif part.source == "prompts":
            more, freedom = times, (part.freedom + 1) * times - 1
        else:  # seeds that are shared by all prompts stay as many as they are
            more, freedom = 1.0, part.freedom
        parts.append(Part(part.source, part.variance / more, freedom))
    return replace(estimate, parts=tuple(parts))


def seconds(evidence: Evidence, prompts: int, trainings: int) -> float | None:
    """What a study of that size takes beyond this one: its trainings and its pictures; None: not known."""
    costs = list(evidence.costs.values())
    sampling = [cost.seconds_a_picture for cost in costs]
    before, times = evidence.replicates, prompts / evidence.prompts
    if not costs or None in sampling or evidence.over == "concepts":
        return None
    per_picture = sum(spent for spent in sampling if spent is not None)
    bare = per_picture / len(sampling)
    pictures = evidence.pictures * (per_picture * (times * trainings - before) + bare * (times - 1))
    each = sum(map(_seconds_of_training, costs))
    return each * (trainings - before) + pictures


def _seconds_of_training(cost: Cost) -> float:
    """What a training takes, as a part of its pass; 0 for a combination, which is not trained by itself."""
    if len(parts_of(cost.method)) > 1:
        return 0.0
    if cost.seconds_shared is None:
        return cost.seconds_alone or 0.0
    return cost.seconds_shared / cost.at_once / (1 + len(cost.trained_with))


def sentence(evidence: Evidence, further: Further | None) -> str:
    """`What would decide it: about 128 prompts instead of 32 (3 min more on this machine).`"""
    if further is None:
        return "The truth seems to lie so near the margin that no study of a sensible size would decide it."
    before = evidence.prompts
    changes = []
    if further.prompts > before:
        changes.append(f"about {further.prompts} prompts instead of {before}")
    if further.trainings > evidence.replicates:
        what = "concepts" if evidence.over == "concepts" else "trainings of each method"
        changes.append(f"{further.trainings} {what} instead of {evidence.replicates}")
    price = f" ({duration(further.seconds)} more on this machine)" if further.seconds is not None else ""
    return f"What would decide it: {' and '.join(changes)}{price}."
