"""How much of the level each look at a growing study may spend.

The level is spent as O'Brien and Fleming's boundaries spend it (Lan and DeMets 1983, Discrete sequential boundaries for
clinical trials, Biometrika 70(3), alpha_1): by the time that a share t of the pictures is sampled,

    alpha(t) = 2 - 2 Phi(z / sqrt(t)),    z the normal's quantile at 1 - 0.05 / 2

Each look spends what is new since the look before it and no more, so that false claims of all looks together stay
within the level whatever their dependence (Bonferroni). The exact boundaries would need the share of information at
each look, which more pictures of the same trainings do not give; they would leave 0.049 for the last look instead of
0.044.
"""

from collections.abc import Sequence
from itertools import pairwise
from math import sqrt

from scipy.special import ndtr, ndtri

from .intervals import ALPHA

SHARES = (0.25, 0.5, 1.0)  # of the pictures that a study may sample, at which it looks


def spent(share: float) -> float:
    """The chance of a false claim that may be spent once a share of the pictures is sampled, above 0 to 1."""
    return float(2 * ndtr(ndtri(ALPHA / 2) / sqrt(share)))


def alphas(shares: Sequence[float] = SHARES) -> tuple[float, ...]:
    """What each look may spend; in all at most 0.05. `shares`: rising, at most 1."""
    return tuple(spent(now) - (spent(before) if before else 0.0) for before, now in pairwise((0.0, *shares)))
