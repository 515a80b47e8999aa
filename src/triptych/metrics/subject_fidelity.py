"""Subject fidelity: how like the held-out real pictures a sampled one is (DreamBooth's protocol, arXiv:2208.12242)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..scores import Score
from . import Metric

if TYPE_CHECKING:
    from collections.abc import Iterator

    from . import Evidence


class SubjectFidelity(Metric):
    """Mean cosine, -1 to 1, of a sampled picture with the real pictures that its training run held out."""

    name = "subject_fidelity"
    explanation = (
        "How alike a sampled picture and the real pictures are that were kept out of training, as an encoder sees it."
    )
    better = "higher"

    def measure(self, evidence: Evidence) -> Iterator[Score]:
        samples = evidence.of("concept")
        for sample, value in zip(samples, evidence.likeness(samples), strict=True):
            yield Score(self.name, sample.method, value, sample.replicate, sample.prompt, sample.seed, sample.picture)
