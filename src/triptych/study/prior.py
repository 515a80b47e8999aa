"""What a study takes as known of the spread between trainings: by the user, or by what the base states."""

from __future__ import annotations

import math
from collections.abc import Sequence

from ..base.description import Trainings
from ..errors import TriptychError
from ..verdict import Prior

FORM = "the spread between trainings and its degrees of freedom, such as 0.04,5, or none"


def as_prior(stated: Trainings) -> Prior:
    """The same as the verdict takes it."""
    return Prior.known(stated.freedom, stated.spread, stated.shared_freedom, stated.shared)


def trainings_of(given: Sequence[str] | None, base: Trainings) -> Trainings:
    """What the user states, else the base. `given`: spread and freedom, then those of what all methods share; () none.

    Raises:
        TriptychError: these are no two or four numbers, or they are out of range.
    """
    if given is None:
        return base
    if not given:
        return Trainings()
    try:
        numbers = [float(text) for text in given]
    except ValueError:
        numbers = []
    if len(numbers) not in (2, 4) or not all(math.isfinite(number) and number >= 0 for number in numbers):
        raise TriptychError(f"{','.join(given)!r} does not state {FORM}")
    spread, freedom, shared, shared_freedom = (*numbers, 0.0, 0.0)[:4]
    if not freedom:
        raise TriptychError(f"{','.join(given)!r} states a spread without a degree of freedom, which says nothing")
    return Trainings(freedom, spread, shared_freedom, shared)
