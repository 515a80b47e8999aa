"""Vendi score: the effective number of different pictures of one prompt (Friedman and Dieng, arXiv:2210.02410)."""

from __future__ import annotations

import math
from collections import defaultdict
from typing import TYPE_CHECKING

import numpy as np

from ..scores import Score
from . import Metric

if TYPE_CHECKING:
    from collections.abc import Iterator

    from . import Evidence, Features, Shown


class Vendi(Metric):
    """1 to the number of seeds: one value per method, training run and prompt with two or more seeds; cosine kernel.

    With two seeds it is equivalent to the mean distance. With more it also distinguishes one outlier from many kinds.
    """

    name = "vendi"
    explanation = "How many effectively different pictures one prompt gives: 1 when every seed gives the same."
    better = "higher"
    limits = (1.0, math.inf)

    def measure(self, evidence: Evidence) -> Iterator[Score]:
        groups: defaultdict[tuple[str, int, str], list[Shown]] = defaultdict(list)
        for sample in (*evidence.of("concept"), *evidence.of("again")):
            groups[sample.method, sample.replicate, sample.prompt].append(sample)
        for (method, replicate, prompt), samples in groups.items():
            if len(samples) > 1:
                yield Score(self.name, method, vendi(evidence.features(samples)), replicate, prompt)


def vendi(features: Features) -> float:
    """The exponential of the entropy of the eigenvalues of K / n (equation 2), for features [n, d] of length 1."""
    eigenvalues = np.linalg.eigvalsh(features.astype(np.float64) @ features.T.astype(np.float64) / len(features))
    shares = eigenvalues[eigenvalues > 1e-12]
    return float(np.exp(-(shares * np.log(shares)).sum()))
