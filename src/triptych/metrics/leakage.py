"""Leakage: how far the class word alone drifts towards the concept (DreamBooth's PRES, arXiv:2208.12242)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..scores import BASE, Score
from . import Metric

if TYPE_CHECKING:
    from collections.abc import Iterator

    from . import Evidence


class Leakage(Metric):
    """Of a picture of the class word alone: cosine with the held-out real pictures, less that of the bare base's.

    Only drift towards the concept is leakage, so what is below 0 counts as 0 (0 to 2). `class_drift` tells of drift
    to either side. A method that has no word of its own is called by the class word: what it learned is what leaks.
    """

    name = "leakage"
    explanation = "How far the class word alone, without the concept's own word, drifts towards the concept."
    better = "lower"
    limits = (0.0, 2.0)

    def measure(self, evidence: Evidence) -> Iterator[Score]:
        samples = evidence.of("class")
        likeness = evidence.likeness(samples)
        bare = {
            (sample.prompt, sample.seed): value
            for sample, value in zip(samples, likeness, strict=True)
            if sample.method == BASE
        }
        for sample, value in zip(samples, likeness, strict=True):
            if (sample.prompt, sample.seed) in bare:
                drift = max(0.0, value - bare[sample.prompt, sample.seed])
                yield Score(
                    self.name, sample.method, drift, sample.replicate, sample.prompt, sample.seed, sample.picture
                )
