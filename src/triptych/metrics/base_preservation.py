"""Base preservation: whether unrelated prompts still give the bare base's pictures (LyCORIS, arXiv:2309.14859)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..scores import BASE, Score
from . import Metric

if TYPE_CHECKING:
    from collections.abc import Iterator

    from . import Evidence


class BasePreservation(Metric):
    """Cosine, -1 to 1, of a picture with the bare base's of the same unrelated prompt and seed; 1 for the base."""

    name = "base_preservation"
    explanation = "How alike the pictures of unrelated prompts are before and after: 1 when the base is left as it was."
    better = "higher"

    def measure(self, evidence: Evidence) -> Iterator[Score]:
        bare = {(one.prompt, one.seed): one for one in evidence.of("unrelated", BASE)}
        drawn = [one for one in evidence.of("unrelated") if (one.prompt, one.seed) in bare]
        if not drawn:
            return
        after = evidence.features(drawn)
        before = evidence.features(bare[one.prompt, one.seed] for one in drawn)
        for one, value in zip(drawn, (after * before).sum(axis=1), strict=True):
            same = one.method == BASE
            yield Score(
                self.name, one.method, 1.0 if same else float(value), one.replicate, one.prompt, one.seed, one.picture
            )
