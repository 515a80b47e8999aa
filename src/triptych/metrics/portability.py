"""Portability: whether what was learned on one base still draws the concept on another base of the family."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..scores import Score
from . import Metric

if TYPE_CHECKING:
    from collections.abc import Iterator

    from . import Evidence


class Portability(Metric):
    """Subject fidelity of pictures that another base drew with the artifact; the control is that base, bare."""

    name = "portability"
    explanation = "How alike the real pictures are to what another base of the family draws with the same file."
    better = "higher"

    def measure(self, evidence: Evidence) -> Iterator[Score]:
        samples = evidence.of("other-base")
        for sample, value in zip(samples, evidence.likeness(samples), strict=True):
            yield Score(self.name, sample.method, value, sample.replicate, sample.prompt, sample.seed, sample.picture)
