"""Diversity: how much the pictures of one prompt differ between seeds (DreamBooth's DIV, arXiv:2208.12242)."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

from ..scores import Score
from . import Metric

if TYPE_CHECKING:
    from collections.abc import Iterator

    from . import Evidence, Shown


class Diversity(Metric):
    """1 - mean cosine of all pairs, 0 to 2: one value per method, training run and prompt with two or more seeds."""

    name = "diversity"
    explanation = (
        "How different the pictures of one prompt are from each other: 0 when every seed gives the same picture."
    )
    better = "higher"
    limits = (0.0, 2.0)

    def measure(self, evidence: Evidence) -> Iterator[Score]:
        groups: defaultdict[tuple[str, int, str], list[Shown]] = defaultdict(list)
        for sample in (*evidence.of("concept"), *evidence.of("again")):
            groups[sample.method, sample.replicate, sample.prompt].append(sample)
        for (method, replicate, prompt), samples in groups.items():
            n = len(samples)
            if n > 1:
                features = evidence.features(samples)
                pairs = (float((features @ features.T).sum()) - n) / (n * (n - 1))
                yield Score(self.name, method, 1 - pairs, replicate, prompt)
