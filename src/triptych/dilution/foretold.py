"""Foretells retention from one step of a mix, and tests that on mixes that it was not fitted to.

The nearer a mix stays to what a file alone does in one step, the more is kept of it. With the distance of
`response.Response`, 0 for the file alone and about 1 for the bare base,

    retention = 1 / (1 + (distance / half)^steep),

which falls fast around `half`: sampling goes on from each step's prediction, so a small error fades and a large one
grows. Each mix in turn is left out, with every other arm of the same weights; the rest fit both numbers by least
squares, and the mix is foretold.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import least_squares

from .measure import Kept

CLOSE = 0.10
FEWEST = 3  # mixes, of which each is foretold from the others
MOST_DISTANT, STEEPEST = 5.0, 20.0

Foretell = Callable[[Kept], float]  # the retention that is foretold of a file in a mix


@dataclass(frozen=True)
class Foretold:
    """One retention that was foretold by a predictor fitted to other mixes."""

    arm: str
    file: str
    measured: float
    foretold: float


@dataclass(frozen=True)
class Curve:
    """Retention as a function of distance: 1 at 0, 0.5 at `half`, the steeper there the larger `steep` is."""

    half: float
    steep: float

    def __call__(self, distance: float) -> float:
        return float(1 / (1 + (distance / self.half) ** self.steep))

    @classmethod
    def fit(cls, distances: Sequence[float], retained: Sequence[float]) -> Curve:
        """The curve nearest to retentions, by least squares."""
        x, y = np.maximum(distances, 1e-6), np.asarray(retained, float)

        def off(logs: np.ndarray[tuple[int], np.dtype[np.float64]]) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
            half, steep = np.exp(logs)
            return np.asarray(1 / (1 + (x / half) ** steep) - y)

        ends = np.log([[0.05, 0.5], [MOST_DISTANT, STEEPEST]])
        return cls(*np.exp(least_squares(off, np.log([USUAL.half, USUAL.steep]), bounds=ends).x).tolist())


USUAL = Curve(0.48, 6.0)  # of LoRAs on the embedded base, training seed 0: docs/dilution.md


def by_distance(kept: Sequence[Kept]) -> Foretell:
    """The predictor that these retentions fit, all of which have a response."""
    known = [(row.response.distance, row.retention.value) for row in kept if row.response]
    curve = Curve.fit(*zip(*known, strict=True))
    return lambda row: curve(row.response.distance if row.response else 1.0)


def foretell(
    kept: Sequence[Kept],
    mixes: Mapping[str, Mapping[str, float]],
    learn: Callable[[Sequence[Kept]], Foretell] = by_distance,
) -> list[Foretold]:
    """Every retention, foretold from the other mixes. Empty where these are too few.

    Args:
        mixes: arm -> name of each file in it -> its weight.
        learn: makes a predictor of retentions.
    """
    found = []
    for arm in dict.fromkeys(row.arm for row in kept):
        others = [row for row in kept if mixes[row.arm] != mixes[arm]]
        if len({row.arm for row in others}) < FEWEST - 1:
            return []
        foretold = learn(others)
        own = (row for row in kept if row.arm == arm)
        found += [Foretold(arm, row.file, row.retention.value, foretold(row)) for row in own]
    return found


def share_close(found: Sequence[Foretold]) -> float:
    """The share of retentions that were foretold within 0.10."""
    return sum(abs(row.measured - row.foretold) <= CLOSE for row in found) / len(found)
