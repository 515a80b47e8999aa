"""Consistency: whether it is the same subject in every scene (as in ConsiStory, arXiv:2402.03286)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from . import Metric
from .pairs import between_prompts

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ..scores import Score
    from . import Evidence


class Consistency(Metric):
    """Mean cosine, -1 to 1, of pictures of different prompts by the same run; one pseudo-value a prompt, see `pairs`.

    To be read beside subject fidelity: whoever always draws the same wrong thing is consistent too.
    """

    name = "consistency"
    explanation = "How alike the pictures of different prompts are: the same subject from scene to scene."
    better = "higher"

    def measure(self, evidence: Evidence) -> Iterator[Score]:
        yield from between_prompts(self.name, evidence, lambda _: 0.0)
