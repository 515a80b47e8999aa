"""Prompt fidelity: how much of what the prompt names is there, by component; see `components`."""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING

from ..scores import BASE, REAL, Score
from . import Metric
from .by_pixels import ByPixels
from .by_score import ByScore
from .by_text import ByText
from .components import PREFIX, scales

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from . import Evidence
    from .components import Grades, Judge, Scale


class PromptFidelity(Metric):
    """The product, 0 to 1, over the components that a prompt asks for: 0 no better than chance, 1 as in real pictures.

    A right background does not make up for a missing thing. A component that the judge cannot read off real pictures is
    left out. Each component is a score of its own too (`prompt_thing`, `prompt_background`, ...). Of the method "real"
    there are the real pictures by their captions, and for every component, read or left out, how well the judge reads
    it off real pictures (0 by chance, 1 always).
    """

    name = "prompt_fidelity"
    explanation = "How much of what the prompt asks for, such as a background or a place, is in the picture."
    better = "higher"
    limits = (0.0, 1.0)

    def measure(self, evidence: Evidence) -> Iterator[Score]:
        judge = _judge(evidence)
        samples = evidence.of("concept")
        if judge is None or not samples:
            return
        grades = judge.drawn(samples)
        bare = (each for sample, each in zip(samples, grades, strict=True) if sample.method == BASE)
        known = scales(judge, bare)
        for sample, each in zip(samples, grades, strict=True):
            parts = _parts(each, known)
            for component, value in (*parts.items(), *([(self.name, prod(parts.values()))] if parts else [])):
                name = component if component == self.name else PREFIX + component
                yield Score(name, sample.method, value, sample.replicate, sample.prompt, sample.seed, sample.picture)
        for i, each in judge.captioned().items():
            if parts := _parts(each, known):
                yield Score(self.name, REAL, prod(parts.values()), prompt=evidence.concept.pictures[i].name)
        for component, scale in known.items():
            yield Score(PREFIX + component, REAL, scale.read)


def _judge(evidence: Evidence) -> Judge | None:
    if evidence.scorer is not None:
        return ByScore(evidence, evidence.scorer)
    if evidence.text_encoder is not None:
        return ByText(evidence, evidence.text_encoder)
    return ByPixels(evidence, evidence.world) if evidence.world is not None else None


def _parts(grades: Grades, known: Mapping[str, Scale]) -> dict[str, float]:
    return {name: known[name].of(value) for name, value in grades.items() if name in known and not known[name].blind}
