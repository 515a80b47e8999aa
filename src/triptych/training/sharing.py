"""Groups trainings into joint passes: those that share the frozen base train together, up to a number of rows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
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


def _trains_alone(trained: Trained) -> bool:
    """Whether it needs its own pass. A method without steps has nothing to share."""
    return not isinstance(trained.settings, Training) or not method_named(trained.method).shares_a_pass
