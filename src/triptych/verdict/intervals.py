"""How sure a mean over pictures is: Student's t with the variance of each source of chance.

The variance of a mean is a sum of parts: of the trainings, of the prompts, and of picture seeds where they are shared
between prompts (`variance`). Few members need heavier tails than the normal's. A variance that is a sum of several, one
of few trainings and one of many prompts, takes the quantiles of all: the squares of Student's t, weighted by the
variances (Banerjee 1960, On confidence interval for two-means problem), which never covers too little. One t with
Satterthwaite's degrees of freedom does: with three trainings and the spread of published runs it is wrong in 8 % where
5 % are stated.

A study that looks several times may claim falsely at each look. The level is then spent over the looks
(`looks`): an estimate of a look has a smaller `alpha`, its interval is wider, and its p-values are stated as those of a
single look, so that everything that is held against the level stays as it is (repeated confidence intervals: Jennison
and Turnbull 1989, JRSS B 51).
"""

from dataclasses import dataclass, replace
from math import exp, inf, log, sqrt
from typing import Literal, Self

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.special import stdtr, stdtrit

ALPHA = 0.05
LEVEL = 1 - ALPHA
SMALLEST = 1e-12  # a tail that is as good as 0

Floats = NDArray[np.float64]
Source = Literal["trainings", "prompts", "seeds"]


@dataclass(frozen=True)
class Interval:
    """A mean, the ends of its interval, and the number of values in it. An end that nothing is known of is infinite."""

    value: float
    low: float
    high: float
    n: int

    def within(self, least: float, most: float) -> "Interval":
        """The same with ends that lie in the range of what was measured; an end that is not known stays so."""
        low = max(self.low, min(least, self.value)) if np.isfinite(self.low) else self.low
        high = min(self.high, max(most, self.value)) if np.isfinite(self.high) else self.high
        return replace(self, low=low, high=high)


@dataclass(frozen=True)
class Part:
    """What one source of chance adds to the variance of a mean, and the degrees of freedom it is known with."""

    source: Source
    variance: float
    freedom: float


@dataclass(frozen=True)
class Estimate:
    """A mean with what is needed to give its interval at any level."""

    value: float
    n: int
    parts: tuple[Part, ...]  # empty: nothing is known of its spread
    alpha: float = ALPHA  # the chance of a false claim that this look may spend; 0..0.05

    @property
    def variance(self) -> float:
        return sum(part.variance for part in self.parts)

    @property
    def known(self) -> bool:
        """Whether anything is known of its spread."""
        return bool(self.parts)

    def half(self, alpha: float) -> float:
        """Half the width of the two-sided interval that misses the truth with this chance; infinite if not known."""
        if not self.parts:
            return inf
        return sqrt(sum(part.variance * float(stdtrit(part.freedom, alpha / 2)) ** 2 for part in self.parts))

    def interval(self) -> Interval:
        half = self.half(self.alpha)
        return Interval(self.value, self.value - half, self.value + half, self.n)

    def p_above(self, boundary: float) -> float:
        """How much speaks against "the truth is above `boundary`", 0..1: twice the one-sided p-value.

        It is at most 1 - LEVEL exactly where the whole interval lies above the boundary.
        """
        return self._p(self.value - boundary)

    def p_below(self, boundary: float) -> float:
        """The same against "the truth is below `boundary`"."""
        return self._p(boundary - self.value)

    def _p(self, distance: float) -> float:
        """The level at which an interval is half as wide as `distance`, stated as the p-value of a single look."""
        if distance <= 0 or not self.parts:
            return 1.0
        if len(self.parts) == 1 or not self.variance:
            spread = sqrt(self.variance)
            p = 2 * float(stdtr(self.parts[0].freedom, -distance / spread)) if spread else 0.0
            return min(1.0, p * ALPHA / self.alpha)
        if self.half(SMALLEST) < distance:
            return SMALLEST
        found = brentq(lambda exponent: self.half(exp(exponent)) - distance, log(SMALLEST), 0.0, xtol=1e-6)
        return min(1.0, exp(found) * ALPHA / self.alpha)

    def scaled(self, factor: float) -> Self:
        """The same estimate in another unit; `factor` > 0."""
        parts = tuple(replace(part, variance=part.variance * factor**2) for part in self.parts)
        return replace(self, value=self.value * factor, parts=parts)
