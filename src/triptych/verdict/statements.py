"""What each question states, as a condition on the methods' true means.

The same conditions are counted over draws of the posterior (`grades`) and held against the truth of simulated studies.
A question has two statements, that of its yes and that of its no. They need not be opposites: what makes no difference
that matters may be called either.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..scores import BASE
from .intervals import Floats
from .values import Margins

Truths = NDArray[np.bool_]


@dataclass(frozen=True)
class Means:
    """True means by method, the bare base too: [draws] each. Preservation may lack."""

    both: Mapping[str, Floats]
    preservation: Mapping[str, Floats]
    margins: Margins

    def ahead(self, method: str, other: str) -> Floats:
        return np.asarray(self.both[method] - self.both[other])

    def calmer(self, method: str, other: str) -> Floats:
        return np.asarray(self.preservation[method] - self.preservation[other])


@dataclass(frozen=True)
class Statement:
    """Whether yes is true, and whether no is: [draws] each."""

    yes: Truths
    no: Truths


def enough(means: Means, light: str, others: Sequence[str]) -> Statement:
    """Above the bare base, and not worse than any other by more than the margin."""
    margin = means.margins.both
    worst = np.min([means.ahead(light, other) for other in others], axis=0)
    return Statement((worst > -margin) & (means.ahead(light, BASE) > 0), worst < -margin)


def excessive(means: Means, heavy: str, lighter: Sequence[str]) -> Statement:
    """Something lighter is better by more than the margin, or is as good within it and disturbs the base less."""
    margins, yes, no = means.margins, [], []
    for name in lighter:
        ahead, calmer = means.ahead(name, heavy), means.calmer(name, heavy)
        good = (ahead > -margins.both) & (means.ahead(name, BASE) > 0)
        yes.append(good & ((calmer > 0) | (ahead > margins.both)))
        no.append((ahead < -margins.both) | ((ahead < margins.both) & (calmer < margins.preservation)))
    return Statement(np.any(yes, axis=0), np.all(no, axis=0))


def middle(
    means: Means, ends: tuple[str, str], between: str, rivals: Sequence[str], lightness: Callable[[str], int | None]
) -> Statement:
    """The ends differ, it lies between them within the margin, and nothing else does all of it as well.

    Args:
        means: the true means.
        ends: the light method and the heavy one.
        between: the method in the middle.
        rivals: all others.
        lightness: 1 where a rival's file is smaller than that of the method in the middle, 0 where it is as large,
            -1 where it is larger; None where that is not known.
    """
    margins, (light, heavy) = means.margins, ends
    apart, up, down = (means.ahead(*pair) for pair in ((heavy, light), (between, light), (heavy, between)))
    placed = (apart > 0) & (up > -margins.both) & (down > -margins.both)
    displaced = (apart < margins.both) | (up < -margins.both) | (down < -margins.both)
    for name in rivals:
        ahead = means.ahead(name, between)
        calmer = means.calmer(name, between) if name in means.preservation else np.full_like(ahead, -np.inf)
        size = lightness(name)
        if size is None or size >= 0:
            placed = placed & ((ahead < 0) | (calmer < 0))
        if size is not None and size >= 0:
            as_good = (ahead > -margins.both) & (calmer > -margins.preservation)
            displaced = displaced | (as_good & ((size > 0) | (ahead > 0) | (calmer > 0)))
    return Statement(placed, displaced)


def reinforces(means: Means, name: str, parts: Sequence[str]) -> Statement:
    """Better than each of its parts; no: not by as much as the margin over the best of them."""
    least = np.min([means.ahead(name, part) for part in parts], axis=0)
    return Statement(least > 0, least < means.margins.both)
