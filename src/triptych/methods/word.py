"""What methods share that learn a new word, alone or beside something else."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Generic, TypeVar

from ..base import Text
from ..data.concept import Concept
from ..settings import setting
from . import Training


@dataclass(frozen=True)
class WordSettings(Training):
    """Settings of a method that learns a word."""

    vectors: int = setting(2, "vectors (tokens) the word is made of", least=1)
    token: str = setting("<concept>", "the new word")
    start_word: str = setting(
        "", "the known word it starts from, or several: fox,fur,orange; empty: the concept's class word"
    )
    shuffle: bool = setting(False, "training reads the vectors in random order, another in each step and prompt")
    length: str = setting("free", "of the vectors: free, or fixed at that of the first ones", choices=("free", "fixed"))


W = TypeVar("W", bound=WordSettings)


class LearnsWord(Generic[W]):
    """The traits of a method that learns a word. A subclass is also a `Method`."""

    def changes_text(self, settings: W) -> bool:
        return True

    def for_concept(self, settings: W, concept: Concept) -> W:
        return replace(settings, token=concept.token, start_word=settings.start_word or concept.class_word)

    def phrase(self, settings: W, class_word: str) -> str:
        return settings.token

    def phrase_tokens(self, text: Text, settings: W, class_word: str) -> int:
        beside = self.phrase(settings, class_word).replace(settings.token, "")
        return len(text.spell([beside])[0]) + settings.vectors

    def claim(self, settings: W) -> str:
        return f"the word {settings.token!r}"

    def order(self, settings: W) -> int:
        """The patch that opens last reads prompts first. It must be the longest word, which may contain another."""
        return len(settings.token)
