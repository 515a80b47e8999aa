"""The ceiling of subject fidelity: how like the held-out pictures the training pictures are (arXiv:2208.12242)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..scores import REAL, Score
from . import Metric

if TYPE_CHECKING:
    from collections.abc import Iterator

    from . import Evidence


class Ceiling(Metric):
    """Mean cosine, -1 to 1, of each training picture with the held-out ones of its run; the prompt is its file name.

    So it is measured as a sampled picture is: against the very pictures that judge the run. The training picture is
    seen as the base's autoencoder gives it back, since no drawing of the base could be better. Scored as method "real".
    """

    name = "ceiling"
    explanation = "How like the held-out pictures your other pictures are: what a perfect drawing could reach."
    better = "higher"

    def measure(self, evidence: Evidence) -> Iterator[Score]:
        cosines = evidence.real_likeness
        for run in evidence.replicates:
            split = evidence.concept.split(run)
            for i, picture in enumerate(evidence.concept.pictures):
                if i not in split.held_out:
                    value = float(cosines[i, list(split.held_out)].mean())
                    yield Score(self.name, REAL, value, run, picture.name)
