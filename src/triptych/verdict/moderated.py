"""Variances of few members, moderated: what the trainings of one method tell, joined to what all the others' tell.

With d + 1 trainings of each of M methods, the variance s2 of one method has d degrees of freedom. The methods' true
variances are taken as drawn from a scaled inverse chi-square of d0 degrees of freedom around s02; then the posterior is

    s2~ = (d0 s02 + d s2) / (d0 + d)    with d0 + d degrees of freedom

(Smyth 2004, Linear models and empirical Bayes methods for assessing differential expression, eq. 3). d0 and s02 are
found from the log variances of the methods by their mean and variance (the same, section 6.2). They are never worth
more than the degrees of freedom they come from, (M - 2) d, so that a method's own trainings always count. Or they are
stated from earlier studies, which counts if it is worth more and the trainings at hand do not contradict it. What all
methods share in a training (the split of the pictures) is taken out before, and added again where no other method takes
it off.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from scipy.special import digamma, fdtri, polygamma

from .intervals import LEVEL, Floats

FEWEST = 3  # methods, from which the others tell something about one


@dataclass(frozen=True)
class Prior:
    """What is known of the variance between trainings (or picture seeds) of a method besides its own.

    freedom: d0. scale: s02, of a method's mean over pictures. shared: the variance that all methods have in common.
    shared_freedom: the degrees of freedom that `shared` is known with besides those of the trainings at hand.
    stated: whether it comes from earlier studies; the scale then lacks the chance of the pictures of this one.
    """

    freedom: float = 0.0
    scale: float = 0.0
    shared: float = 0.0
    shared_freedom: float = 0.0
    stated: bool = False

    @staticmethod
    def known(freedom: float, spread: float, shared_freedom: float, shared: float) -> "Prior":
        """What earlier studies tell, as standard deviations; without a degree of freedom they tell nothing."""
        return Prior(freedom, spread**2, shared**2, shared_freedom, stated=True) if freedom else NONE

    def with_shared(self, variance: float, freedom: float) -> "Prior":
        """The same, with what the trainings at hand tell of the shared variance, at so many degrees of freedom."""
        if not self.shared_freedom + freedom:
            return self
        joined = (self.shared_freedom * self.shared + freedom * variance) / (self.shared_freedom + freedom)
        return replace(self, shared=joined)

    def variance(self, squares: float, total: float, noise: float) -> float:
        """Expected variance of a weighted sum of methods: sum of squared weights, squared sum of weights."""
        return (self.scale + noise * self.stated) * squares + self.shared * total

    def of_all(self, squares: float, total: float, noise: float, members: int) -> float:
        """The part of it, 0..1, that is common to all methods, so that a method more tells no more of it."""
        expected = self.variance(squares, total, noise)
        return total * (self.shared + self.scale / members) / expected if expected > 0 and members else 0.0


NONE = Prior()


def estimated(means: Floats) -> tuple[Prior, int]:
    """The prior by moments, and how many methods it comes from. `means`: [methods, trainings]; NaN where one failed."""
    means = means[~np.isnan(means).any(axis=1)]
    methods, members = means.shape
    own = members - 1
    if methods < FEWEST or own < 1:
        return NONE, methods
    variances = _variances(means)
    moving = variances[variances > 1e-9 * max(float(variances.max()), 1e-12)]
    if moving.size < FEWEST:
        return NONE, methods
    logs = np.log(moving) - digamma(own / 2) + np.log(own / 2)
    excess = float(logs.var(ddof=1) - polygamma(1, own / 2))
    if excess > 0:
        freedom = 2 * _inverse(lambda x: float(polygamma(1, x)), excess)
        scale = float(np.exp(logs.mean() + digamma(freedom / 2) - np.log(freedom / 2)))
    else:
        freedom, scale = np.inf, float(moving.mean())
    shared, _ = common_variance(means, scale)
    return Prior(min(freedom, (methods - 2) * own), scale, shared), methods


def contradicted(prior: Prior, means: Floats, noise: float) -> bool:
    """Whether trainings surely lie farther apart than a stated prior lets expect, by an F test at the level.

    `means`: as for `estimated`. `noise`: what the chance of the pictures adds to the variance of each.
    """
    means = means[~np.isnan(means).any(axis=1)]
    methods, members = means.shape
    if methods < 2 or members < 2:
        return False
    freedom = (methods - 1) * (members - 1)
    return float(_variances(means).mean()) > (prior.scale + noise) * float(fdtri(freedom, prior.freedom, LEVEL))


def _variances(means: Floats) -> Floats:
    """[methods], between trainings, without what all methods share in one."""
    methods, members = means.shape
    common = means.mean(axis=0)
    apart = means - means.mean(axis=1, keepdims=True) - (common - common.mean())
    return np.asarray((apart**2).sum(axis=1) / (members - 1) * methods / (methods - 1))


def common_variance(means: Floats, scale: float) -> tuple[float, int]:
    """The variance that all methods have in common, 0 or more, and the degrees of freedom it is known with.

    `means`: as for `estimated`. `scale`: the variance of each method, whose part in the mean of all is taken off.
    """
    means = means[~np.isnan(means).any(axis=1)]
    methods, members = means.shape
    if not methods or members < 2:
        return 0.0, 0
    return max(0.0, float(means.mean(axis=0).var(ddof=1)) - scale / methods), members - 1


def _inverse(falling: Callable[[float], float], value: float) -> float:
    """Where a falling function of a positive number takes a value, by bisection on the logarithm."""
    low, high = 1e-3, 1e6
    for _ in range(60):
        middle = float(np.sqrt(low * high))
        low, high = (middle, high) if falling(middle) > value else (low, middle)
    return float(np.sqrt(low * high))
