"""What methods share that learn a word beside something else: its vectors, at a rate and for a time of their own.

The word is textual inversion's (arXiv:2208.01618). It is read by the same patch, and the other change by another; both
are trained in one loss. The result is a LoRA, or a relative of it, whose file bundles the word.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, ClassVar, Generic, TypeVar

from ..base import Base, Owner
from ..families import families
from ..patching.joint import Joint
from ..patching.patch import Tensors
from ..settings import setting
from . import method_named
from .by_lora import LORA, of_method
from .word import LearnsWord, WordSettings

WORD = "word"  # the group of the word's vectors
INVERSION = "textual-inversion"
EMBEDDINGS = {text.embedding for family in families().values() for text in family.texts}  # names of a word's tensors


@dataclass(frozen=True)
class SideSettings(WordSettings):
    """Settings of a method that learns a word beside something else."""

    word_lr: float = setting(5e-3, "learning rate of the word's vectors", least=0)
    word_until: float = setting(1.0, "share of the steps after which the word is not trained any more", least=0, most=1)


S = TypeVar("S", bound=SideSettings)


class WithWord(LearnsWord[S], Generic[S]):
    """The traits of a method that learns a word, too. A subclass is also a `Method`, and opens the other change."""

    one_concept: ClassVar[str] = "its file holds one learned word"

    def rates(self, settings: S) -> Mapping[str, float]:
        return {WORD: settings.word_lr}

    def ends(self, settings: S) -> Mapping[str, int]:
        return {WORD: round(settings.word_until * settings.steps)} if settings.word_until < 1 else {}

    def words(self, settings: S, tensors: Tensors) -> Mapping[str, tuple[str, Any, Tensors]]:
        _, own = of_method(INVERSION, settings)
        return {settings.token: (INVERSION, own, word_of(tensors))}

    def not_used(self, base: Base, tensors: Tensors) -> list[str]:
        return method_named(LORA).not_used(base, without_word(tensors))


def word_of(tensors: Tensors) -> Tensors:
    """The word's tensors, which have the names of embeddings."""
    return {name: tensor for name, tensor in tensors.items() if name in EMBEDDINGS}


def without_word(tensors: Tensors) -> Tensors:
    return {name: tensor for name, tensor in tensors.items() if name not in EMBEDDINGS}


def start_of_word(base: Base, settings: SideSettings, seed: int) -> Tensors:
    """The vectors that the word starts from.

    Raises:
        TriptychError: the base has the word already, or there is no word to start from.
    """
    method, own = of_method(INVERSION, settings)
    return method.start(base, own, seed)


@contextmanager
def with_word(
    base: Base, settings: SideSettings, tensors: Tensors, strength: float, owner: Owner = None
) -> Iterator[Joint]:
    """Open the word together with the change of layers, which a LoRA or a relative of it is.

    Raises:
        TriptychError: the tensors do not fit the base.
    """
    (lora, of_lora), (inversion, of_word) = of_method(LORA, settings), of_method(INVERSION, settings)
    with (
        lora.patch(base, of_lora, without_word(tensors), strength, owner) as change,
        inversion.patch(base, of_word, word_of(tensors), strength, owner) as read,
    ):
        yield Joint({LORA: change, WORD: read})
