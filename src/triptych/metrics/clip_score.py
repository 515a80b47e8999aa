"""CLIPScore: how well a picture fits its whole prompt, as papers report it (arXiv:2104.08718)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..scores import REAL, Score
from . import Metric
from .components import CLIP_WEIGHT

if TYPE_CHECKING:
    from collections.abc import Iterator

    from . import Evidence


class ClipScore(Metric):
    """2.5 max(cosine, 0) of a picture and its prompt with the class word, 0 to 2.5, by the encoder of texts.

    The verdict does not use it: it is on no scale of real pictures, and a style or a place may hide a missing thing. Of
    the method "real" there are the real pictures by their captions.
    """

    name = "clip_score"
    explanation = "How well a picture fits its whole prompt, on the scale that papers report."
    better = "higher"
    limits = (0.0, 2.5)

    def measure(self, evidence: Evidence) -> Iterator[Score]:
        encoder, samples = evidence.text_encoder, evidence.of("concept")
        if encoder is None or not samples:
            return
        prompts = list(dict.fromkeys(sample.prompt for sample in samples))
        read = dict(zip(prompts, encoder.texts(prompts).numpy(), strict=True))
        for sample, seen in zip(samples, evidence.text_side_features(samples), strict=True):
            value = _score(float(seen @ read[sample.prompt]))
            yield Score(self.name, sample.method, value, sample.replicate, sample.prompt, sample.seed, sample.picture)
        if captions := evidence.captions:
            real = encoder.images([evidence.best[i] for i in captions]).numpy()
            said = encoder.texts(list(captions.values())).numpy()
            for i, value in zip(captions, (real * said).sum(axis=1), strict=True):
                yield Score(self.name, REAL, _score(float(value)), prompt=evidence.concept.pictures[i].name)


def _score(cosine: float) -> float:
    return CLIP_WEIGHT * max(cosine, 0.0)
