"""A judge of prompts that reads texts: which of several a picture is most like, as an encoder such as CLIP sees it.

A prompt that says "on the beach" is held against the same prompt with every other place that the base's prompts know.
That is R-precision (AttnGAN, arXiv:1711.10485) by component, graded by rank.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import numpy as np

from .components import Grades, chance, grade, rank
from .named import WHOLE, named, vocabulary, whole

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from . import Evidence, Features, Shown
    from .encoders import TextImageEncoder


class ByText:
    """Reads pictures with an encoder of texts.

    Components are the base's lists of words (place, material, view, ...), and the thing: the class word of a subject,
    among the things that the base's prompts name. A prompt in which none of them stands is held against all other
    prompts of the study.
    """

    def __init__(self, evidence: Evidence, encoder: TextImageEncoder) -> None:
        self._evidence, self._encoder = evidence, encoder
        self._words = vocabulary(evidence)
        self._prompts = tuple(dict.fromkeys(sample.prompt for sample in evidence.of("concept")))
        self._said: dict[str, np.ndarray] = {}

    @property
    def chance(self) -> Mapping[str, float]:
        return {name: chance(len(values)) for name, values in self._words.items()} | {
            WHOLE: chance(max(1, len(self._prompts)))
        }

    def drawn(self, samples: Sequence[Shown]) -> list[Grades]:
        seen = self._evidence.text_side_features(samples)
        return [self._grades(sample.prompt, feature) for sample, feature in zip(samples, seen, strict=True)]

    def captioned(self) -> dict[int, Grades]:
        captions = self._evidence.captions
        if not captions:
            return {}
        seen = self._encoder.images([self._evidence.best[i] for i in captions]).numpy()
        return {i: self._grades(text, feature) for (i, text), feature in zip(captions.items(), seen, strict=True)}

    def rendered(self) -> list[Grades]:
        return []

    def _grades(self, prompt: str, seen: np.ndarray) -> Grades:
        grades = Grades()
        for component, right in named(prompt, self._words).items():
            before, after = re.split(whole(right), prompt, maxsplit=1)
            texts = {value: f"{before}{value}{after}" for value in self._words[component]}
            grades[component] = self._grade(right, texts, seen)
        if not grades and prompt in self._prompts and len(self._prompts) > 1:
            grades[WHOLE] = self._grade(prompt, {text: text for text in self._prompts}, seen)
        return grades

    def _grade(self, right: str, texts: Mapping[str, str], seen: np.ndarray) -> float:
        said = self._read(tuple(texts.values()))
        return grade(rank(right, dict(zip(texts, (-(said @ seen)).tolist(), strict=True))))

    def _read(self, texts: Sequence[str]) -> Features:
        """[texts, d]; each text is encoded once."""
        new = [text for text in dict.fromkeys(texts) if text not in self._said]
        if new:
            self._said.update(zip(new, self._encoder.texts(new).numpy(), strict=True))
        return np.stack([self._said[text] for text in texts])
