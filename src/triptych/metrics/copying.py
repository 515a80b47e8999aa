"""Copying: whether a sampled picture is a training picture over again (Somepalli et al., arXiv:2212.03860)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ..scores import BASE, Score
from . import Metric

if TYPE_CHECKING:
    from collections.abc import Iterator

    from . import Evidence, Features

APART = 0.05  # cosine by which a training picture must be nearer to its own redrawing than to any other real picture


class Copying(Metric):
    """1 where a sampled picture is nearer to being a training picture than to being another of the concept, else 0.

    A training picture's own redrawing by the base's autoencoder is as near to it as a copy can be; the real picture
    that is most like it is as near as another picture of the same thing gets. A copy is what lies beyond the middle of
    the two. Of a training picture that has a twin among the real ones, only what is nearer than either is a copy: half
    the way from them to the very same picture. The bare base, which saw none of them, tells how often that happens by
    chance.
    """

    name = "copying"
    explanation = "The share of pictures that are a training picture over again."
    better = "lower"
    limits = (0.0, 1.0)

    def measure(self, evidence: Evidence) -> Iterator[Score]:
        real = evidence.real_features
        cosines = real @ real.T
        np.fill_diagonal(cosines, -1.0)
        twin, itself = cosines.max(axis=1), (evidence.redrawn_features * real).sum(axis=1)
        nearest = np.maximum(itself, twin)
        limit = np.where(itself - twin > APART, (itself + twin) / 2, (1 + nearest) / 2)
        samples = evidence.of("concept")
        for sample, feature in zip(samples, evidence.features(samples), strict=True):
            runs = evidence.replicates if sample.method == BASE else (sample.replicate,)
            trained = [list(evidence.concept.split(run).train) for run in runs]
            value = float(np.mean([_copies(real[train] @ feature, limit[train]) for train in trained]))
            yield Score(self.name, sample.method, value, sample.replicate, sample.prompt, sample.seed, sample.picture)


def _copies(near: Features, limit: Features) -> bool:
    return bool((near > limit).any())
