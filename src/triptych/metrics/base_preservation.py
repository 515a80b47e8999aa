"""Base preservation: whether unrelated prompts still give the bare base's pictures (LyCORIS, arXiv:2309.14859)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..scores import BASE, RESEEDED, Score
from . import Metric

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from . import Drawn, Evidence, Features


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
        bare = {one.prompt: one for one in evidence.of("unrelated", BASE)}
        if len(bare) < 2:
            return
        seen = evidence.features(bare.values())
        before = dict(zip(bare, seen, strict=True))
        other = _between(seen)
        drawn = [one for one in evidence.of("unrelated") if _paired(one, bare)]
        for one, feature in zip(drawn, evidence.features(drawn), strict=True):
            same = one.method == BASE
            value = 1.0 if same else (float(feature @ before[one.prompt]) - other) / (1 - other)
            yield Score(self.name, one.method, value, one.replicate, one.prompt, one.seed, one.picture)


def _paired(one: Drawn, bare: Mapping[str, Drawn]) -> bool:
    """Whether the bare base drew the same prompt with the same seed, or with another where that is the point."""
    return one.prompt in bare and (one.method == RESEEDED or one.seed == bare[one.prompt].seed)


def _between(features: Features) -> float:
    """The mean cosine of pictures of different prompts."""
    n = len(features)
    return min(0.99, (float((features @ features.T).sum()) - n) / (n * (n - 1)))
