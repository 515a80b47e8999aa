"""Draws of the true means of all methods at once, from which every stated probability is counted.

With a flat prior for the means, and variances that are sums of parts of known degrees of freedom, the posterior is a
sum of multivariate t's, one for each part (Behrens 1929, Fisher 1935; Box and Tiao 1973, Bayesian Inference in
Statistical Analysis, section 2.5). The draws depend on the seed alone.
"""

from collections.abc import Sequence

import numpy as np

from .intervals import Floats

DRAWS = 4000


def draws(means: Floats, covariances: Sequence[tuple[Floats, float]], seed: int) -> Floats:
    """[methods, draws]. `covariances`: of the means, part by part, each with its degrees of freedom."""
    random = np.random.default_rng(seed)
    found = np.repeat(means[:, None], DRAWS, axis=1)
    for covariance, freedom in covariances:
        values, vectors = np.linalg.eigh(covariance)
        root = vectors * np.sqrt(np.maximum(values, 0.0))
        normal = root @ random.standard_normal((len(means), DRAWS))
        found = found + normal / np.sqrt(random.chisquare(freedom, DRAWS) / freedom)
    return found
