"""A study that goes on until it is decided: it looks at its verdict after a quarter, a half and all of its prompts.

Pictures of one look are kept for the next. What each look may spend of the level is in `verdict.looks`.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ..base import Budget
from ..errors import TriptychError
from ..units import duration
from ..verdict import Further, Look, Verdict, settled
from ..verdict.intervals import ALPHA
from ..verdict.looks import SHARES, alphas
from .plan import Plan

TIMES = 4  # the budget's prompts that a study samples at most until it is decided


@dataclass(frozen=True)
class Stage:
    """The prompts that a verdict is reached by, and what it may spend of the level."""

    prompts: int
    unrelated: int
    alpha: float = ALPHA

    @property
    def look(self) -> Look:
        return Look(self.prompts, self.alpha)


def stages(plan: Plan, budget: Budget) -> list[Stage]:
    """The looks of a study: one, unless it goes on until it is decided."""
    if not plan.until_decided:
        return [Stage(budget.prompts, budget.unrelated)]
    most = plan.at_most_pictures or TIMES * budget.prompts
    counts = sorted({max(1, math.ceil(share * most)) for share in SHARES})
    beside = budget.unrelated / budget.prompts
    spending = alphas([count / most for count in counts])
    return [Stage(count, max(2, round(count * beside)), alpha) for count, alpha in zip(counts, spending, strict=True)]


def before(path: Path, ahead: Sequence[Stage]) -> tuple[Look, ...]:
    """The looks of an earlier verdict of this study besides those that are ahead: they have spent something too."""
    if not path.is_file():
        return ()
    try:
        earlier = Verdict.from_json(path.read_text(encoding="utf-8"))
    except TriptychError:
        return ()
    return tuple(look for look in earlier.looks if look not in [stage.look for stage in ahead])


@dataclass(frozen=True)
class Clock:
    """The time that a study may take. `minutes`: 0 for as long as it needs."""

    minutes: float
    began: float

    @staticmethod
    def of(plan: Plan) -> Clock:
        return Clock(plan.at_most_minutes, time.monotonic())

    def allows(self, seconds: float) -> bool:
        return not self.minutes or time.monotonic() - self.began + seconds <= 60 * self.minutes


def end(verdict: Verdict, now: Stage, later: Stage, clock: Clock) -> str:
    """Why the study does not go on to the next look; empty where it does."""
    if settled(verdict):
        known = all(answer.answer != "cannot tell" for answer in verdict.answers.values())
        return f"{'decided' if known else 'more prompts would decide nothing'} after {now.prompts} prompts"
    seconds = sampling_seconds(verdict, later.prompts + later.unrelated - now.prompts - now.unrelated)
    if clock.allows(seconds):
        return ""
    return (
        f"not decided after {now.prompts} prompts: {later.prompts} would take about {duration(seconds)} more, beyond"
        f" the {clock.minutes:g} minutes that it was given"
    )


def sampling_seconds(verdict: Verdict, pictures: int) -> float:
    """Seconds of sampling so many more pictures with every trained file and with the bare base."""
    known = [cost.seconds_a_picture for cost in verdict.costs.values() if cost.seconds_a_picture is not None]
    return pictures * (sum(known) * verdict.replicates + sum(known) / len(known)) if known else 0.0


def deciding(plan: Plan, further: Further) -> Plan:
    """The plan that goes on with a study until it is decided, by as much as is expected to do."""
    trainings = further.trainings if further.trainings > 1 else plan.replicates
    return replace(
        plan, until_decided=True, at_most_pictures=further.prompts, at_most_minutes=0.0, replicates=trainings
    )
