"""The objective of tuning: the main figure of a study, on prompts that no study reports."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import cached_property

from ..data.concept import fill
from ..errors import TriptychError
from ..metrics import Shown, metrics
from ..sampling.generate import sample
from ..sampling.pictures import save_picture
from ..sampling.recipe import Recipe, Used
from ..sampling.request import Request
from ..scores import BASE
from ..verdict import MARGINS
from ..verdict.evidence import BOTH, CEILING, PROMPT, SUBJECT, Evidence
from .work import Work

CRITERIA = (SUBJECT, CEILING, PROMPT)


@dataclass
class Yardstick:
    """The objective for one concept: its prompts ("{}" for the concept) and seeds."""

    work: Work
    name: str  # of the concept's folder of pictures
    prompts: Sequence[str]
    seeds: Sequence[int]

    @cached_property
    def floor(self) -> list[Shown]:
        """The bare base's pictures of the class word.

        Raises:
            TriptychError: they are as close to the real pictures as those are to each other.
        """
        pictures = self._sample(BASE, self.work.concept.class_word, nullcontext())
        concept = self.work.concept
        if not self._judged(pictures).anchors.usable:
            raise TriptychError(
                f"{concept.name}: the base already draws it by its class word {concept.class_word!r}, so nothing can be"
                " chosen by it; leave the folder out, or give another class word"
            )
        return pictures

    def of(self, name: str, phrase: str, attached: AbstractContextManager[object]) -> float:
        """The value of pictures sampled with `attached`, from 0 to 1. `phrase` calls the concept in prompts.

        1 stands for pictures that are as like the concept as its own, with everything in the prompt.
        """
        judged = self._judged([*self.floor, *self._sample(name, phrase, attached)])
        both = judged.mean(BOTH, name)
        return both.value if both else 0.0

    def _sample(self, name: str, phrase: str, attached: AbstractContextManager[object]) -> list[Shown]:
        base, concept, out = self.work.base, self.work.concept, self.work.layout.out
        asked = [(prompt, seed) for prompt in self.prompts for seed in self.seeds]
        with attached:
            pictures = sample(base, [Request(fill(prompt, phrase), (seed,)) for prompt, seed in asked])
        shown = []
        for place, ((prompt, seed), [picture]) in enumerate(zip(asked, pictures, strict=True)):
            path = out / "pictures" / f"{name}-{self.name}" / f"{place:05}.png"
            save_picture(
                path, picture, Recipe.of(base, fill(prompt, phrase), seed, uses=[Used.named(path.parent.name)])
            )
            class_prompt = fill(prompt, concept.class_word)
            shown.append(Shown(name, 0, "concept", class_prompt, seed, path, path.relative_to(out).as_posix()))
        return shown

    def _judged(self, pictures: Sequence[Shown]) -> Evidence:
        seen = self.work.evidence(pictures)
        scores = [score for name in CRITERIA for score in metrics()[name].measure(seen)]
        return Evidence.of(scores, [], {}, MARGINS, self.work.plan.seed)
