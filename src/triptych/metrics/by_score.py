"""A judge of prompts that is asked of each picture whether a statement holds: CLIPScore, or VQAScore.

Each component of a prompt is a statement of its own ("a cat on a beach", "a red cat"), from the templates that the
base's population declares. The grade is the score itself. Chance is what pictures score for statements that do not
hold: the same ones with another value in place.
"""

from __future__ import annotations

from functools import cached_property
from hashlib import sha256
from statistics import fmean
from typing import TYPE_CHECKING

from ..scores import BASE
from .components import Grades
from .kept_scores import KeptScores, Pair
from .named import THING, WHOLE, named, vocabulary

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from . import Evidence, Shown
    from .encoders import PromptScorer

SOMETHING = "something"  # the thing of a prompt that names none


class ByScore:
    """Reads pictures with a scorer of prompts.

    A prompt in which none of the known words stands is one statement as a whole, where there are others to compare.
    """

    def __init__(self, evidence: Evidence, scorer: PromptScorer) -> None:
        self._evidence = evidence
        self._kept = KeptScores(scorer, evidence.kept_scores)
        self._words = vocabulary(evidence)
        self._prompts = tuple(dict.fromkeys(sample.prompt for sample in evidence.of("concept")))

    @cached_property
    def chance(self) -> Mapping[str, float]:
        """Component -> the mean score of statements with another value, over the bare base's and the real pictures."""
        samples = self._evidence.of("concept", BASE) or self._evidence.of("concept")
        pictures = [(Pair.of_sample(sample), sample.prompt) for sample in samples]
        pictures += [(Pair.of_picture(self._evidence.best[i]), text) for i, text in self._evidence.captions.items()]
        wrong = [
            (component, picture.saying(self._statement(component, self._other(component, value, prompt), prompt)))
            for picture, prompt in pictures
            for component, value in self._asked(prompt).items()
        ]
        scores: dict[str, list[float]] = {}
        for (component, _), score in zip(wrong, self._kept.of([pair for _, pair in wrong]), strict=True):
            scores.setdefault(component, []).append(score)
        return {component: fmean(found) for component, found in scores.items()}

    def drawn(self, samples: Sequence[Shown]) -> list[Grades]:
        return self._grades([(Pair.of_sample(sample), sample.prompt) for sample in samples])

    def captioned(self) -> dict[int, Grades]:
        captions = self._evidence.captions
        pictures = [(Pair.of_picture(self._evidence.best[i]), text) for i, text in captions.items()]
        return dict(zip(captions, self._grades(pictures), strict=True))

    def rendered(self) -> list[Grades]:
        return []

    def _grades(self, pictures: Sequence[tuple[Pair, str]]) -> list[Grades]:
        asked = [self._asked(prompt) for _, prompt in pictures]
        pairs = [
            picture.saying(self._statement(component, value, prompt))
            for (picture, prompt), parts in zip(pictures, asked, strict=True)
            for component, value in parts.items()
        ]
        scores = iter(self._kept.of(pairs))
        return [{component: next(scores) for component in parts if component in self.chance} for parts in asked]

    def _asked(self, prompt: str) -> dict[str, str]:
        """Component -> its value in the prompt; of those that could have another one."""
        parts = {name: value for name, value in named(prompt, self._words).items() if len(self._words[name]) > 1}
        if not parts and prompt in self._prompts and len(self._prompts) > 1:
            return {WHOLE: prompt}
        return parts

    def _statement(self, component: str, value: str, prompt: str) -> str:
        if component == WHOLE:
            return value
        concept = self._evidence.concept
        thing = named(prompt, {THING: self._words.get(THING, ())}).get(THING)
        thing = thing or (concept.class_word if concept.kind == "subject" else SOMETHING)
        return self._evidence.statements.get(component, "{value}").format(value=value, thing=thing)

    def _other(self, component: str, value: str, prompt: str) -> str:
        """Another value of the component. It follows from the prompt."""
        values = self._prompts if component == WHOLE else self._words[component]
        others = [other for other in values if other != value]
        return others[int.from_bytes(sha256(prompt.encode()).digest()[:4]) % len(others)]
