"""Groups trainings into joint passes: those that share the frozen base train together, up to rows or memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol, TypeVar

from ..methods import Training, method_named


class Trained(Protocol):
    """Something that is trained by a method with settings."""

    @property
    def method(self) -> str: ...

    @property
    def settings(self) -> Any: ...


T = TypeVar("T", bound=Trained)


def joint_passes(wanted: Sequence[T], most: int) -> Iterator[list[T]]:
    """Group trainings, in their order, into passes of at most `most` rows. One that cannot share a pass has its own."""
    together: list[T] = []
    for trained in wanted:
        if _trains_alone(trained):
            continue
        rows = sum(method_named(other.method).rows(other.settings) for other in [*together, trained])
        if together and rows > most:
            yield together
            together = []
        together.append(trained)
    if together:
        yield together
    yield from ([alone] for alone in wanted if _trains_alone(alone))


def fitting_passes(wanted: Sequence[T], fits: Callable[[Sequence[T]], bool]) -> Iterator[list[T]]:
    """Group trainings, in their order, into passes that fit, each by halving those that are left until they do.

    One training alone is a pass whether it fits or not. One that cannot share a pass has its own.
    """
    left = [trained for trained in wanted if not _trains_alone(trained)]
    count = len(left)
    while left:
        while count > 1 and not fits(left[:count]):
            count = (count + 1) // 2
        yield left[:count]
        left = left[count:]
        count = min(count, len(left))
    yield from ([alone] for alone in wanted if _trains_alone(alone))


def rows_of_all_steps(trained: Trained) -> int:
    """What the time of a training is about proportional to; 0 for a method without steps."""
    settings = trained.settings
    return settings.steps * method_named(trained.method).rows(settings) if isinstance(settings, Training) else 0


def _trains_alone(trained: Trained) -> bool:
    """Whether it needs its own pass. A method without steps has nothing to share, and the base is stored in one way."""
    settings = trained.settings
    if not isinstance(settings, Training) or not method_named(trained.method).shares_a_pass:
        return True
    return settings.frozen != "as-is" or settings.offload != "none"
