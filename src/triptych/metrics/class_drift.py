"""Class drift: how far pictures of the class word alone are from the bare base's, in whatever direction."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..scores import BASE, Score
from . import Metric

if TYPE_CHECKING:
    from collections.abc import Iterator

    from . import Evidence


class ClassDrift(Metric):
    """1 less the cosine, 0 to 2, of a picture of the class word with the bare base's of the same prompt and seed."""

    name = "class_drift"
    explanation = "How far the class word alone has moved from what the bare base draws, towards the concept or away."
    better = "lower"
    limits = (0.0, 2.0)

    def measure(self, evidence: Evidence) -> Iterator[Score]:
        samples = evidence.of("class")
        features = evidence.features(samples)
        bare = {
            (sample.prompt, sample.seed): feature
            for sample, feature in zip(samples, features, strict=True)
            if sample.method == BASE
        }
        for sample, feature in zip(samples, features, strict=True):
            if (sample.prompt, sample.seed) in bare:
                value = 0.0 if sample.method == BASE else 1 - float(feature @ bare[sample.prompt, sample.seed])
                yield Score(
                    self.name, sample.method, value, sample.replicate, sample.prompt, sample.seed, sample.picture
                )
