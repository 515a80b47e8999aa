"""Means over pairs of pictures of different prompts, as one value per prompt with the right spread.

A mean over pairs (a U-statistic, Hoeffding 1948) is not a mean of independent values, since every prompt is in many
pairs. Intervals from the prompts' own means would be half as wide as they should be. The jackknife's pseudo-values
(Tukey 1958; for U-statistics Arvesen 1969) have the same mean and the right spread.
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

import numpy as np

from ..scores import BASE, Score

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

    from . import Evidence

    Vector = NDArray[np.float64]

FEWEST = 3  # prompts; two prompts give one pair, which has no spread


def between_prompts(name: str, evidence: Evidence, origin: Callable[[int], Vector | float]) -> Iterator[Score]:
    """One score per method, training run and prompt: products of pictures of different prompts, relative to an origin.

    `origin` returns the origin of a training run, [d] or 0. The bare base belongs to no run; its value is the mean over
    all origins.
    """
    prompts: defaultdict[tuple[str, int], dict[str, list[Vector]]] = defaultdict(dict)
    samples = evidence.of("concept")
    for sample, feature in zip(samples, evidence.features(samples), strict=True):
        prompts[sample.method, sample.replicate].setdefault(sample.prompt, []).append(feature.astype(np.float64))
    for (method, replicate), by_prompt in prompts.items():
        if len(by_prompt) < FEWEST:
            continue
        means = np.stack([np.mean(features, axis=0) for features in by_prompt.values()])
        runs = evidence.replicates if method == BASE else (replicate,)
        values = np.mean([pseudo_values(means - origin(run)) for run in runs], axis=0)
        for prompt, value in zip(by_prompt, values, strict=True):
            yield Score(name, method, float(value), replicate, prompt)


def pseudo_values(means: Vector) -> Vector:
    """Pseudo-values [prompts] from means [prompts, d]: n U - (n - 1) U without the prompt, expanded for products."""
    n = len(means)
    products = means @ means.T
    of_each = (products.sum(axis=1) - np.diag(products)) / (n - 1)
    mean = of_each.mean()
    return np.asarray(mean + 2 * (n - 1) / (n - 2) * (of_each - mean))
