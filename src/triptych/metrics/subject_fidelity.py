"""Subject fidelity: how like the held-out real pictures a drawn one is (DreamBooth's protocol, arXiv:2208.12242)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..scores import BASE, Score
from . import Metric

if TYPE_CHECKING:
    from collections.abc import Iterator

    from . import Evidence


class SubjectFidelity(Metric):
    """Mean cosine, -1 to 1, of a drawn picture with the real pictures that its training run held out.

    The bare base belongs to no run: it is measured against what each run held out, and the mean is its value.
    """

    name = "subject_fidelity"
    explanation = (
        "How alike a drawn picture and the real pictures are that were kept out of training, as an encoder sees it."
    )
    better = "higher"

    def measure(self, evidence: Evidence) -> Iterator[Score]:
        real, split = evidence.real_features, evidence.concept.split
        centres = {run: real[list(split(run).held_out)].mean(axis=0) for run in evidence.replicates}
        drawn = evidence.of("concept")
        for one, feature in zip(drawn, evidence.features(drawn), strict=True):
            runs = evidence.replicates if one.method == BASE else (one.replicate,)
            value = sum(float(feature @ centres[run]) for run in runs) / len(runs)
            yield Score(self.name, one.method, value, one.replicate, one.prompt, one.seed, one.picture)
