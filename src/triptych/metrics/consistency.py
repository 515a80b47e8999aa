"""Consistency: whether the subject is the same in every scene (as in ConsiStory, arXiv:2402.03286)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from . import Metric
from .pairs import between_prompts

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ..scores import Score
    from . import Evidence


class Consistency(Metric):
    """Mean cosine, -1 to 1, of pictures of different prompts by one run; one pseudo-value per prompt, see `pairs`.

    Read it together with subject fidelity: a method that always samples the same wrong subject is consistent too.
    """

    name = "consistency"
    explanation = "How alike the pictures of different prompts are: the same subject from scene to scene."
    better = "higher"

    def measure(self, evidence: Evidence) -> Iterator[Score]:
        yield from between_prompts(self.name, evidence, lambda _: 0.0)
