"""Foretells retention by a linear predictor, tested on mixes that it was not fitted to.

A loss, 1 - retention, is foretold from a few numbers that are known before a mix is sampled. From its response
(`response.Response`) these are u, u^2 and across / (1 + across), with u = |1 - along|, 1 at most; all are 0 for the
file alone. Each mix in turn is left out, with every other arm of the same weights; the rest fit the predictor by ridge
regression, and the mix is foretold.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .measure import Kept
from .response import Response

RIDGE = 0.01
CLOSE = 0.10
FEWEST = 3  # mixes, of which each is foretold from the others

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Foretold:
    """One retention that was foretold by a predictor fitted to other mixes."""

    arm: str
    file: str
    measured: float
    foretold: float


def features(row: Kept) -> list[float]:
    """What the predictor reads of a file in a mix, of which the response is known."""
    response = row.response or Response(1.0, 0.0)
    missing = min(abs(1 - response.along), 1.0)
    return [missing, missing**2, response.across / (1 + response.across)]


def fit(rows: Sequence[Sequence[float]], retained: Sequence[float]) -> Floats:
    """Coefficients of 1 - retention, with a small ridge."""
    x, y = np.asarray(rows, float), 1 - np.asarray(retained, float)
    return np.asarray(np.linalg.solve(x.T @ x + RIDGE * np.eye(x.shape[1]), x.T @ y))


def retained(coefficients: Floats, row: Sequence[float]) -> float:
    """The retention that is foretold from one row of features."""
    return 1 - float(np.asarray(row) @ coefficients)


def foretell(
    kept: Sequence[Kept],
    mixes: Mapping[str, Mapping[str, float]],
    read: Callable[[Kept], Sequence[float]] = features,
) -> list[Foretold]:
    """Every retention, foretold from the other mixes. Empty where these are too few.

    Args:
        mixes: arm -> name of each file in it -> its weight.
        read: what the predictor reads.
    """
    found = []
    for arm in dict.fromkeys(row.arm for row in kept):
        others = [row for row in kept if mixes[row.arm] != mixes[arm]]
        if len({row.arm for row in others}) < FEWEST - 1:
            return []
        coefficients = fit(list(map(read, others)), [row.retention.value for row in others])
        for row in (row for row in kept if row.arm == arm):
            found.append(Foretold(arm, row.file, row.retention.value, retained(coefficients, read(row))))
    return found


def share_close(found: Sequence[Foretold]) -> float:
    """The share of retentions that were foretold within 0.10."""
    return sum(abs(row.measured - row.foretold) <= CLOSE for row in found) / len(found)
