"""Centroid distance: from the mean of the sampled pictures to the mean of the real ones (LyCORIS, arXiv:2309.14859).

The mean cosine rewards low diversity: 1 - cosine is half the sum of this squared distance and both variances.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from . import Metric
from .pairs import between_prompts

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ..scores import Score
    from . import Evidence


class CentroidDistance(Metric):
    """Squared Euclidean distance, 0 to 4, between the centroids of the sampled and the held-out pictures.

    The variance of the sampled pictures does not enter (products are of pictures of different prompts), so the value
    can be slightly negative. There is one pseudo-value per prompt; see `pairs`. The held-out pictures count as fixed.
    """

    name = "centroid_distance"
    explanation = "How far the middle of what was sampled is from the middle of the real pictures kept out of training."
    better = "lower"
    limits = (0.0, 4.0)

    def measure(self, evidence: Evidence) -> Iterator[Score]:
        real, split = evidence.real_features, evidence.concept.split
        yield from between_prompts(self.name, evidence, lambda run: real[list(split(run).held_out)].mean(axis=0))
