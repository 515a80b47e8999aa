"""Memorisation: whether a sampled picture copies a training picture (Somepalli et al. 2023, arXiv:2212.03860)."""

from __future__ import annotations

from math import comb
from typing import TYPE_CHECKING

import numpy as np

from ..scores import BASE, Score
from . import Metric

if TYPE_CHECKING:
    from collections.abc import Iterator

    from . import Evidence, Features


class Memorisation(Metric):
    """Cosine with the run's nearest training picture minus cosine with the nearest held-out picture; -2 to 2.

    If the concept was learned, both are equally near. If it was memorised, the training picture is nearer. The quality
    of the samples affects both. Since there are fewer held-out pictures, as many training pictures are compared: the
    value is the mean over all such subsets. A held-out picture may differ from the others. This also affects the bare
    base, which was trained on none of them, so a run is compared with the base's value, the mean over the runs.
    """

    name = "memorisation"
    explanation = "How much nearer a sampled picture is to the training pictures than to those kept out of training."
    better = "lower"
    limits = (-2.0, 2.0)

    def measure(self, evidence: Evidence) -> Iterator[Score]:
        real, split = evidence.real_features, evidence.concept.split
        parts = {run: (real[list(split(run).train)], real[list(split(run).held_out)]) for run in evidence.replicates}
        samples = evidence.of("concept")
        for sample, feature in zip(samples, evidence.features(samples), strict=True):
            runs = evidence.replicates if sample.method == BASE else (sample.replicate,)
            value = float(np.mean([_excess(*(part @ feature for part in parts[run])) for run in runs]))
            yield Score(self.name, sample.method, value, sample.replicate, sample.prompt, sample.seed, sample.picture)


def _excess(seen: Features, unseen: Features) -> float:
    """The largest of `seen` minus the largest of `unseen` (cosines), as if both were equally many."""
    few = min(len(seen), len(unseen))
    return _expected_largest(seen, few) - _expected_largest(unseen, few)


def _expected_largest(values: Features, few: int) -> float:
    """The mean of the largest value over all subsets of `few`; the i-th smallest is largest in C(i - 1, few - 1)."""
    leads = [comb(i, few - 1) for i in range(len(values))]
    return float(np.sort(values) @ np.array(leads) / comb(len(values), few))
