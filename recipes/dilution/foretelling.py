"""How well retention is foretold: by which predictor, of what it was not fitted to, and how well it could be at all."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import erf, sqrt

import numpy as np

from recipes.dilution.reading import Study
from triptych.dilution.foretold import CLOSE, features, fit, foretell, retained
from triptych.dilution.measure import Kept
from triptych.mixing.overlap import Overlap

Read = Callable[[Kept], Sequence[float]]


@dataclass(frozen=True)
class Pairs:
    """Retentions as they were measured and foretold, and the standard error of each measured one."""

    measured: Sequence[float]
    foretold: Sequence[float]
    errors: Sequence[float]

    @property
    def close(self) -> float:
        """The share within 0.10."""
        return float(np.mean(np.abs(self._off) <= CLOSE))

    @property
    def off(self) -> float:
        """The mean of what they are off by."""
        return float(np.abs(self._off).mean())

    @property
    def own(self) -> float:
        """The root mean square of what the predictor itself is off by, without the noise of what was measured."""
        return sqrt(max(0.0, float(np.square(self._off).mean() - np.square(self.errors).mean())))

    @property
    def _off(self) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
        return np.subtract(self.measured, self.foretold)


def readers(study: Study) -> dict[str, Read]:
    """Predictors of one study, by what they read."""
    weights = study.weights
    overlaps = {
        (row["first"], row["second"]): Overlap(**{n: v for n, v in row.items() if n not in ("first", "second")})
        for row in study.told["overlap"]
    }
    return {
        "nothing: the mean of the others": lambda row: [1.0],
        "the overlap of weights": lambda row: _overlapping(row, weights[row.arm], overlaps),
        "the response": features,
    }


def _overlapping(row: Kept, weights: Mapping[str, float], overlaps: Mapping[tuple[str, str], Overlap]) -> list[float]:
    """1 - w; the sums of w_j size_ij energy_ij and w_j size_ij cosine_ij over the other files; their number."""
    others = [(weight, overlaps[row.file, other]) for other, weight in weights.items() if other != row.file]
    interference = sum(abs(weight) * overlap.size * overlap.energy for weight, overlap in others)
    along = sum(weight * overlap.size * overlap.cosine for weight, overlap in others)
    return [1 - weights[row.file], interference, along, float(len(others))]


def of_other_mixes(study: Study, read: Read) -> Pairs:
    """Each mix by the other mixes of its study."""
    found = foretell(study.rows, study.weights, read)
    known = {(row.arm, row.file): error for row, error in zip(study.rows, errors(study), strict=True)}
    return Pairs(
        [row.measured for row in found], [row.foretold for row in found], [known[row.arm, row.file] for row in found]
    )


def of_other_files(study: Study, read: Read) -> Pairs:
    """Each file by the other files of its study."""
    told, known = list[tuple[float, float, float]](), list(zip(study.rows, errors(study), strict=True))
    for file in study.learned:
        seen = [row for row in study.rows if row.file != file]
        own = [(row, error) for row, error in known if row.file == file]
        told += _foretold(seen, read, own, read) if seen else []
    return Pairs(*zip(*told, strict=True))


def of_another(seen: Study, read: Read, other: Study, other_read: Read) -> Pairs:
    """A study by a predictor that was fitted to another one."""
    own = zip(other.rows, errors(other), strict=True)
    return Pairs(*zip(*_foretold(seen.rows, read, own, other_read), strict=True))


def _foretold(
    seen: Sequence[Kept], read: Read, asked: Iterator[tuple[Kept, float]] | Sequence[tuple[Kept, float]], its: Read
) -> list[tuple[float, float, float]]:
    coefficients = fit([list(read(row)) for row in seen], [row.retention.value for row in seen])
    return [(row.retention.value, retained(coefficients, list(its(row))), error) for row, error in asked]


def errors(study: Study) -> list[float]:
    """The standard error of each retention, from its paired pictures: as `dilution.measure` has it."""
    found = []
    for row in study.rows:
        of = study.pictures(row.file)
        spread = of[row.arm] - row.retention.value * of["alone"] - (1 - row.retention.value) * of["base"]
        gain = np.nanmean(of["alone"] - of["base"])
        found.append(float(np.nanstd(spread, ddof=1) / np.sqrt(np.isfinite(spread).sum()) / gain))
    return found


def knowing_the_truth(known: Sequence[float], pictures: float = 1.0) -> float:
    """The share that a predictor that knows the truth foretells within 0.10, with so many times as many pictures."""
    return float(np.mean([erf(CLOSE / (error / pictures**0.5) / 2**0.5) if error else 1.0 for error in known]))


def by_halves(study: Study) -> float:
    """The same without a bell curve: how often two halves of the pictures are as far apart as such errors make them.

    The difference of halves has twice the standard error of the whole.
    """
    apart = []
    for row in study.rows:
        of = study.pictures(row.file)
        halves = [
            np.nanmean((of[row.arm] - of["base"])[part]) / np.nanmean((of["alone"] - of["base"])[part])
            for part in (slice(0, None, 2), slice(1, None, 2))
        ]
        apart.append(abs(halves[0] - halves[1]))
    return float(np.mean(np.array(apart) <= 2 * CLOSE))
