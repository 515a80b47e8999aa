"""Memorisation: whether a drawn picture is a copy of a training picture (Somepalli et al. 2023, arXiv:2212.03860)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ..scores import BASE, REAL, Score
from . import Metric

if TYPE_CHECKING:
    from collections.abc import Iterator

    from . import Evidence, Features


class Memorisation(Metric):
    """Cosine with the nearest training picture of the run, less how near real pictures come to one; -2 to 2.

    How near real pictures come: each, through the base's autoencoder as every drawing is, to the nearest of the others
    (leave-one-out), the mean of them; it is scored as method "real" itself. Above 0 a drawing is nearer to a training
    picture than a new photograph of the same would be.
    The bare base belongs to no run: its value is the mean over the runs.
    """

    name = "memorisation"
    explanation = "How much nearer a drawn picture is to a training picture than real pictures are to each other."
    better = "lower"
    limits = (-2.0, 2.0)

    def measure(self, evidence: Evidence) -> Iterator[Score]:
        real, split = evidence.real_features, evidence.concept.split
        nearest = nearest_other(evidence.redrawn_features, real)
        for picture, value in zip(evidence.concept.pictures, nearest, strict=True):
            yield Score(self.name, REAL, float(value), prompt=picture.path.name)
        drawn, natural = evidence.of("concept"), float(nearest.mean())
        trained = {run: real[list(split(run).train)] for run in evidence.replicates}
        for one, feature in zip(drawn, evidence.features(drawn), strict=True):
            runs = evidence.replicates if one.method == BASE else (one.replicate,)
            value = float(np.mean([(trained[run] @ feature).max() for run in runs])) - natural
            yield Score(self.name, one.method, value, one.replicate, one.prompt, one.seed, one.picture)


def nearest_other(drawn: Features, real: Features) -> Features:
    """[n] of [n, d] twice: the cosine of each picture with the most alike of the others."""
    cosines = drawn @ real.T
    np.fill_diagonal(cosines, -np.inf)
    return np.asarray(cosines.max(axis=1))
