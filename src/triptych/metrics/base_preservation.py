"""Base preservation: whether unrelated prompts still give the bare base's pictures (LyCORIS, arXiv:2309.14859)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..scores import BASE, RESEEDED, Score
from . import Metric

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from . import Evidence, Features, Shown


class BasePreservation(Metric):
    """How like the bare base's picture of the same unrelated prompt and seed a picture is: 1 the same, 0 as another's.

    The cosine with that picture, on a scale whose ends are the same picture (1) and, 0, the mean cosine of the bare
    base's pictures of different unrelated prompts. Below 0 it is less like it than a picture of another prompt. The
    method "reseeded" is the bare base with another seed: a method with the same value disturbs the base no more than
    chance.
    """

    name = "base_preservation"
    explanation = "How alike the pictures of unrelated prompts are before and after: 1 when the base is left as it was."
    better = "higher"
    limits = (-1.0, 1.0)

    def measure(self, evidence: Evidence) -> Iterator[Score]:
        bare = {sample.prompt: sample for sample in evidence.of("unrelated", BASE)}
        if len(bare) < 2:
            return
        seen = evidence.features(bare.values())
        before = dict(zip(bare, seen, strict=True))
        other = _between(seen)
        samples = [sample for sample in evidence.of("unrelated") if _paired(sample, bare)]
        for sample, feature in zip(samples, evidence.features(samples), strict=True):
            same = sample.method == BASE
            value = 1.0 if same else (float(feature @ before[sample.prompt]) - other) / (1 - other)
            yield Score(self.name, sample.method, value, sample.replicate, sample.prompt, sample.seed, sample.picture)


def _paired(sample: Shown, bare: Mapping[str, Shown]) -> bool:
    """Whether the bare base drew the same prompt with the same seed, or with another where that is the point."""
    return sample.prompt in bare and (sample.method == RESEEDED or sample.seed == bare[sample.prompt].seed)


def _between(features: Features) -> float:
    """The mean cosine of pictures of different prompts."""
    n = len(features)
    return min(0.99, (float((features @ features.T).sum()) - n) / (n * (n - 1)))
