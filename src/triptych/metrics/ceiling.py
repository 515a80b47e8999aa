"""The ceiling of subject fidelity: how alike the real pictures are, leave-one-out (arXiv:2208.12242)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..scores import REAL, Score
from . import Metric

if TYPE_CHECKING:
    from collections.abc import Iterator

    from . import Evidence


class Ceiling(Metric):
    """Mean cosine, -1 to 1, of each real picture with all others; scored as method "real", its prompt the file name.

    The one is seen as the base's autoencoder gives it back: no drawing of the base's could be better.
    """

    name = "ceiling"
    explanation = (
        "How alike the real pictures are among themselves: what a perfect drawing could reach in subject fidelity."
    )
    better = "higher"

    def measure(self, evidence: Evidence) -> Iterator[Score]:
        real = evidence.real_features
        cosines = evidence.redrawn_features @ real.T
        for i, picture in enumerate(evidence.concept.pictures):
            value = float((cosines[i].sum() - cosines[i, i]) / (len(real) - 1))
            yield Score(self.name, REAL, value, prompt=picture.path.name)
