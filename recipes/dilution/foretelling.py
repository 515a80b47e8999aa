"""How well retention is foretold: by which predictor, of what it was not fitted to, and how well it could be at all."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import erf, sqrt

import numpy as np

from recipes.dilution.reading import Study
from triptych.dilution.foretold import CLOSE, Foretell, by_distance, foretell
from triptych.dilution.measure import Kept
from triptych.mixing.overlap import Overlap

RIDGE = 0.01
DISTANCE = "the distance in one step"
Learn = Callable[[Sequence[Kept]], Foretell]
Told = tuple[str, float, float, float]  # a file; its retention as measured and as foretold; the former's standard error


@dataclass(frozen=True)
class Pairs:
    """Retentions that were measured and foretold."""

    told: Sequence[Told]

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
        noise = np.square([error for *_, error in self.told]).mean()
        return sqrt(max(0.0, float(np.square(self._off).mean() - noise)))

    @property
    def _off(self) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
        return np.array([measured - foretold for _, measured, foretold, _ in self.told])

    def of(self, file: str) -> Pairs:
        """Those of one file."""
        return Pairs([each for each in self.told if each[0] == file])


def linear(rows: Sequence[Kept], read: Callable[[Kept], Sequence[float]]) -> Foretell:
    """1 - retention as a linear function of what is read, with a small ridge."""
    x, y = np.array([read(row) for row in rows]), np.array([1 - row.retention.value for row in rows])
    coefficients = np.linalg.solve(x.T @ x + RIDGE * np.eye(x.shape[1]), x.T @ y)
    return lambda row: 1 - float(np.dot(read(row), coefficients))


LEARNERS: Mapping[str, Learn] = {  # what a predictor reads -> how it learns from retentions that are measured
    "nothing: the mean of the others": lambda rows: linear(rows, lambda row: [1.0]),
    DISTANCE: by_distance,
}


def by_overlap(study: Study) -> Learn:
    """A predictor by the overlap of the study's files, pair by pair."""
    weights = study.weights
    overlaps = {
        (row["first"], row["second"]): Overlap(**{n: v for n, v in row.items() if n not in ("first", "second")})
        for row in study.told["overlap"]
    }
    return lambda rows: linear(rows, lambda row: _overlapping(row, weights[row.arm], overlaps))


def _overlapping(row: Kept, weights: Mapping[str, float], overlaps: Mapping[tuple[str, str], Overlap]) -> list[float]:
    """1 - w; the sums of w_j size_ij energy_ij and w_j size_ij cosine_ij over the other files; their number."""
    others = [(weight, overlaps[row.file, other]) for other, weight in weights.items() if other != row.file]
    interference = sum(abs(weight) * overlap.size * overlap.energy for weight, overlap in others)
    along = sum(weight * overlap.size * overlap.cosine for weight, overlap in others)
    return [1 - weights[row.file], interference, along, float(len(others))]


def of_other_mixes(study: Study, learn: Learn, axis: str = "") -> Pairs:
    """Each mix by the other mixes of its study; on request, only the mixes that vary this."""
    known, asked = errors(study), {mix["name"] for mix in study.told["mixes"] if axis in ("", mix["axis"])}
    found = [row for row in foretell(study.rows, study.weights, learn) if row.arm in asked]
    return Pairs([(row.file, row.measured, row.foretold, known[row.arm, row.file]) for row in found])


def of_other_files(study: Study, learn: Learn) -> Pairs:
    """Each file by the other files of its study."""
    told = list[Told]()
    for file in study.learned:
        others = [row for row in study.rows if row.file != file]
        told += _told(study, learn(others), file) if others else []
    return Pairs(told)


def of_another(seen: Study, other: Study, learn: Learn) -> Pairs:
    """A study by a predictor that was fitted to another one."""
    return Pairs(_told(other, learn(seen.rows)))


def joined(found: Iterable[Pairs]) -> Pairs:
    return Pairs([each for pairs in found for each in pairs.told])


def _told(study: Study, foretold: Foretell, file: str = "") -> list[Told]:
    """The rows of a study, or those of one of its files."""
    known = errors(study)
    rows = (row for row in study.rows if file in ("", row.file))
    return [(row.file, row.retention.value, foretold(row), known[row.arm, row.file]) for row in rows]


def errors(study: Study) -> dict[tuple[str, str], float]:
    """The standard error of each retention, by its mix and file, from its paired pictures."""
    kept = {(row.arm, row.file): study.kept(row.arm, row.file) for row in study.rows}
    return {place: each.variance**0.5 for place, each in kept.items() if each}


def knowing_the_truth(known: Iterable[float], pictures: float = 1.0) -> float:
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
