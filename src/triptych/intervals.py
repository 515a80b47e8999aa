"""How sure a mean over pictures is: a hierarchical bootstrap over training runs, prompts and picture seeds.

Measured values form a table (training run, prompt, picture seed). Every run draws the same prompts and seeds, so runs
are crossed with pictures, and seeds are nested in prompts. A resample therefore draws runs, and apart from them
prompts and then seeds within each drawn prompt, and applies both to all methods alike: differences stay paired.

- Resampling crossed factors: Owen (2007), The pigeonhole bootstrap, Annals of Applied Statistics 1(2).
- Its spread is a little too wide for crossed, and too narrow for few, members. So the resamples give the shape, and the
  two-way clustered standard error the scale: Cameron, Gelbach, Miller (2011), Robust inference with multiway
  clustering.
- Few members need heavier tails than the normal's: Student's t with the degrees of freedom of Satterthwaite (1946).

Only levels with more than one member are resampled. With one training run the interval says nothing about other runs.
"""

from dataclasses import dataclass, replace
from typing import Self

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri, stdtrit

LEVEL = 0.95
RESAMPLES = 4000

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Interval:
    """A mean, the ends of its interval, and the number of values in it. An end that nothing is known of is infinite."""

    value: float
    low: float
    high: float
    n: int


@dataclass(frozen=True, eq=False)
class Estimate:
    """A mean with what is needed to give its interval at any level."""

    value: float
    n: int
    deviations: Floats  # of the resampled means from `value`, in order, scaled to the standard error; empty: unknown
    freedom: float  # degrees of freedom, Satterthwaite
    training_share: float  # 0..1: how much of the variance comes from training runs; 0 with a single run

    def interval(self, level: float = LEVEL) -> Interval:
        """The two-sided interval; `level` in (0, 1)."""
        if self.deviations.size == 0:
            return Interval(self.value, -np.inf, np.inf, self.n)
        tail = (1 - level) / 2
        low, high = _quantile(self.deviations, tail), _quantile(self.deviations, 1 - tail)
        wider = _student(self.freedom, tail)
        return Interval(self.value, self.value + low * wider, self.value + high * wider, self.n)

    def p_above(self, boundary: float) -> float:
        """How much speaks against "the truth is above `boundary`", 0..1: twice the one-sided p-value.

        It is at most 1 - level exactly where the interval at that level lies above the boundary; never less than what
        the number of resamples can tell (Davison and Hinkley 1997, section 4.2.5: one more than were seen).
        """
        return _p(self.deviations, self.freedom, boundary - self.value)

    def p_below(self, boundary: float) -> float:
        """The same against "the truth is below `boundary`"."""
        return _p(-self.deviations[::-1], self.freedom, self.value - boundary)

    def scaled(self, factor: float) -> Self:
        """The same estimate in another unit; `factor` > 0."""
        return replace(self, value=self.value * factor, deviations=self.deviations * factor)


class Resamples:
    """The weight of every cell of a (run, prompt, seed) table in every resample; a function of shape and seed alone."""

    def __init__(self, seeds_per_prompt: tuple[int, ...], runs: int, seed: int, resamples: int = RESAMPLES) -> None:
        random = np.random.default_rng(seed)
        self.runs = _counts(random, np.full(resamples, runs), runs)
        prompts = len(seeds_per_prompt)
        drawn = _counts(random, np.full(resamples, prompts), prompts)
        self.pictures = np.zeros((resamples, prompts, max(seeds_per_prompt)))
        for prompt, seeds in enumerate(seeds_per_prompt):
            self.pictures[:, prompt, :seeds] = _counts(random, drawn[:, prompt] * seeds, seeds)

    def estimate(self, cells: Floats) -> Estimate:
        """The mean of the cells that are not NaN. `cells`: (runs, prompts, seeds), at least one of them a number."""
        present = ~np.isnan(cells)
        value = float(cells[present].mean())
        variance, freedom, share = _variance(cells)
        if variance is None:
            return Estimate(value, int(present.sum()), np.empty(0), freedom, share)
        weights = self._weighted(present.astype(float))
        sums = self._weighted(np.where(present, cells, 0.0))
        deviations = sums[weights > 0] / weights[weights > 0] - value
        spread = deviations.std()
        scale = np.sqrt(variance) / spread if spread > 1e-12 else 0.0
        return Estimate(value, int(present.sum()), np.sort(deviations * scale), freedom, share)

    def _weighted(self, cells: Floats) -> Floats:
        by_run = self.runs @ cells.reshape(len(cells), -1)
        return np.asarray((by_run * self.pictures.reshape(len(self.pictures), -1)).sum(axis=1))


def _p(deviations: Floats, freedom: float, distance: float) -> float:
    """Twice the tail at which an interval's lower end has moved up to `distance` (below 0) from its value."""
    if deviations.size == 0:
        return 1.0
    low, high = 1 / (deviations.size + 1), 0.5
    if deviations[0] == deviations[-1] == 0:
        return 2 * low if distance < 0 else 1.0
    if _quantile(deviations, low) * _student(freedom, low) >= distance:
        return 2 * low
    for _ in range(24):  # bisection: the end moves up as the tail grows
        middle = (low + high) / 2
        if _quantile(deviations, middle) * _student(freedom, middle) > distance:
            high = middle
        else:
            low = middle
    return 2 * low if high < 0.5 else 1.0


def _quantile(ordered: Floats, tail: float) -> float:
    place = tail * (ordered.size - 1)
    below = int(place)
    above = min(below + 1, ordered.size - 1)
    return float(ordered[below] + (place - below) * (ordered[above] - ordered[below]))


def _student(freedom: float, tail: float) -> float:
    """How much farther out a quantile of Student's t lies than the normal's."""
    return float(stdtrit(freedom, tail) / ndtri(tail)) if tail < 0.5 else 1.0


def _counts(random: np.random.Generator, draws: NDArray[np.int64], members: int) -> NDArray[np.int64]:
    """How often each member is drawn when `draws[i]` are drawn with replacement: (resamples, members)."""
    return random.multinomial(draws, np.full(members, 1 / members))


def _variance(cells: Floats) -> tuple[float | None, float, float]:
    """Variance of the mean, its degrees of freedom, and the share of it that comes from training runs.

    None where no level has two members. The units of the second way are prompts, or seeds where there is one prompt.
    """
    table = _mean(cells, 2) if cells.shape[1] > 1 else cells[:, 0, :]
    table = table[~np.isnan(table).all(axis=1)][:, ~np.isnan(table).all(axis=0)]
    runs, units = table.shape
    by_run, by_unit = _mean(table, 1), _mean(table, 0)
    of_runs = float(by_run.var(ddof=1)) / runs if runs > 1 else 0.0
    of_units = float(by_unit.var(ddof=1)) / units if units > 1 else 0.0
    if runs == units == 1:
        return None, 1.0, 0.0
    counted_twice = 0.0
    if runs > 1 and units > 1:
        rest = table - by_run[:, None] - by_unit[None, :] + np.nanmean(table)
        counted_twice = float(np.nansum(rest**2)) / ((runs - 1) * (units - 1) * runs * units)
    variance = max(of_runs, of_units, of_runs + of_units - counted_twice)
    if variance == 0:
        return 0.0, 1.0, 0.0
    # Satterthwaite: (sum of v)^2 / sum of v^2 / df
    parts = of_runs**2 / max(runs - 1, 1) + of_units**2 / max(units - 1, 1)
    return variance, (of_runs + of_units) ** 2 / parts, of_runs / (of_runs + of_units)


def _mean(cells: Floats, axis: int) -> Floats:
    """The mean of what is not NaN, and NaN where there is nothing."""
    present = ~np.isnan(cells)
    count = present.sum(axis=axis)
    sums = np.where(present, cells, 0.0).sum(axis=axis)
    return np.where(count > 0, sums / np.maximum(count, 1), np.nan)
