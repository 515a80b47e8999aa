"""Foretells retention from the overlap of the files: a linear predictor, tested on mixes that it was not fitted to.

For a file i with weight w_i in a mix with files j it reads: 1 - w_i; the sum of w_j size_ij energy_ij; the sum of
w_j size_ij cosine_ij; and the number of other files. Each mix in turn is left out, with every other arm of
the same weights; the rest fit the predictor by ridge regression around full retention, and the mix is foretold.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..mixing.overlap import Overlap
from .measure import Kept

RIDGE = 0.01
CLOSE = 0.10

Overlaps = Mapping[tuple[str, str], Overlap]
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Foretold:
    """One retention that was foretold by a predictor fitted to other mixes."""

    arm: str
    file: str
    measured: float
    foretold: float


def features(file: str, weights: Mapping[str, float], overlaps: Overlaps) -> list[float]:
    """What the predictor reads of one file in a mix with these weights."""
    pairs = [(weight, overlaps[file, other]) for other, weight in weights.items() if other != file]
    interference = [abs(weight) * overlap.size * overlap.energy for weight, overlap in pairs]
    along = [weight * overlap.size * overlap.cosine for weight, overlap in pairs]
    return [1 - weights[file], sum(interference), sum(along), float(len(pairs))]


def fit(rows: Sequence[Sequence[float]], retained: Sequence[float]) -> Floats:
    """Coefficients of 1 - retention, with a small ridge."""
    x, y = np.asarray(rows, float), 1 - np.asarray(retained, float)
    return np.asarray(np.linalg.solve(x.T @ x + RIDGE * np.eye(x.shape[1]), x.T @ y))


def foretell(kept: Sequence[Kept], mixes: Mapping[str, Mapping[str, float]], overlaps: Overlaps) -> list[Foretold]:
    """Every retention, foretold from the other mixes. Empty for fewer than three mixes.

    Args:
        mixes: arm -> name of each file in it -> its weight.
    """
    found = []
    for arm in dict.fromkeys(row.arm for row in kept):
        others = [row for row in kept if mixes[row.arm] != mixes[arm]]
        if len({row.arm for row in others}) < 2:
            return []
        coefficients = fit(
            [features(row.file, mixes[row.arm], overlaps) for row in others], [row.retention.value for row in others]
        )
        for row in (row for row in kept if row.arm == arm):
            value = 1 - float(np.asarray(features(row.file, mixes[arm], overlaps)) @ coefficients)
            found.append(Foretold(arm, row.file, row.retention.value, value))
    return found


def share_close(found: Sequence[Foretold]) -> float:
    """The share of retentions that were foretold within 0.10."""
    return sum(abs(row.measured - row.foretold) <= CLOSE for row in found) / len(found)
