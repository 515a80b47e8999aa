"""Leakage: whether the class word alone pulls towards the concept (DreamBooth's PRES, arXiv:2208.12242)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..scores import Score
from . import Metric

if TYPE_CHECKING:
    from collections.abc import Iterator

    from . import Evidence


class Leakage(Metric):
    """Mean cosine, -1 to 1, of pictures of the class word alone with the real pictures that the run held out.

    A method that has no word of its own is called by the class word: its pictures of both are the same, and so are its
    leakage and its fidelity.
    """

    name = "leakage"
    explanation = "How far the class word alone, without the concept's own word, already draws the concept."
    better = "lower"

    def measure(self, evidence: Evidence) -> Iterator[Score]:
        drawn = evidence.of("class")
        for one, value in zip(drawn, evidence.likeness(drawn), strict=True):
            yield Score(self.name, one.method, value, one.replicate, one.prompt, one.seed, one.picture)
