"""Memorisation: whether a drawn picture is a copy of a training picture (Somepalli et al. 2023, arXiv:2212.03860)."""

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
    """Cosine with the nearest training picture of the run, less that with the nearest held-out picture; -2 to 2.

    Both are equally near where the concept was learned, and the training picture is nearer where it was learned by
    heart; how well anything is drawn counts on both sides. There are fewer held-out pictures, so of the training
    pictures as many are taken: the mean over all such choices. That a held-out picture may be unlike the rest shows in
    the bare base too, which saw none of them; its value, the mean over the runs, is what a run's is held against.
    """

    name = "memorisation"
    explanation = "How much nearer a drawn picture is to the training pictures than to those kept out of training."
    better = "lower"
    limits = (-2.0, 2.0)

    def measure(self, evidence: Evidence) -> Iterator[Score]:
        real, split = evidence.real_features, evidence.concept.split
        parts = {run: (real[list(split(run).train)], real[list(split(run).held_out)]) for run in evidence.replicates}
        drawn = evidence.of("concept")
        for one, feature in zip(drawn, evidence.features(drawn), strict=True):
            runs = evidence.replicates if one.method == BASE else (one.replicate,)
            value = float(np.mean([_excess(*(part @ feature for part in parts[run])) for run in runs]))
            yield Score(self.name, one.method, value, one.replicate, one.prompt, one.seed, one.picture)


def _excess(seen: Features, unseen: Features) -> float:
    """The largest of `seen` less the largest of `unseen` (cosines), as if there were as many of each."""
    few = min(len(seen), len(unseen))
    return _expected_largest(seen, few) - _expected_largest(unseen, few)


def _expected_largest(values: Features, few: int) -> float:
    """The largest of `few` of the values, the mean over all choices; the i-th in order leads C(i - 1, few - 1)."""
    leads = [comb(i, few - 1) for i in range(len(values))]
    return float(np.sort(values) @ np.array(leads) / comb(len(values), few))
