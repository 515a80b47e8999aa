"""How much of the captions a text encoder reads: what lies beyond its positions is cut, the concept's word included."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ..base import Base, Text
from ..data.examples import Examples
from ..errors import TriptychError, shown
from ..methods import method_named

WORST = 5  # captions that a line names


@dataclass(frozen=True)
class Cut:
    """A caption that is longer than what is read, by `tokens`; `word` tells whether the concept's word is cut too."""

    place: str  # the picture's file, or the caption where that is not known
    tokens: int
    word: bool


@dataclass(frozen=True)
class Reading:
    """What is read of a concept's captions: the tokens of a prompt that are, and the captions that have more."""

    room: int
    captions: int
    cut: tuple[Cut, ...]

    def __str__(self) -> str:
        """A line for the user; "" where nothing is cut."""
        if not self.cut:
            return ""
        worst = sorted(self.cut, key=lambda cut: -cut.tokens)
        named = ", ".join(f"{cut.place} by {cut.tokens}" for cut in worst[:WORST])
        more = f" and {len(worst) - WORST} more by less" if len(worst) > WORST else ""
        return (
            f"captions: {len(self.cut)} of {self.captions} are longer than the {self.room} tokens that are read of a"
            f" prompt, and are cut ({named}{more})"
        )


def reading_of(
    base: Base, method: str, settings: Any, class_word: str, templates: Sequence[str], names: Sequence[str] = ()
) -> Reading:
    """What is read of captions, given as templates with "{}" where the method's phrase stands.

    Where a base has several text encoders, the one that reads least counts.
    """
    cuts: dict[int, Cut] = {}
    for text in base.texts:
        phrase = method_named(method).phrase_tokens(text, settings, class_word)
        for i, (before, after) in enumerate(_lengths(text, templates)):
            over = before + phrase + after - text.limit
            if over > 0 and (i not in cuts or over > cuts[i].tokens):
                place = names[i] if i < len(names) else f'"{shown(templates[i])}"'
                cuts[i] = Cut(place, over, before + phrase > text.limit)
    return Reading(min(text.limit for text in base.texts), len(templates), tuple(cuts[i] for i in sorted(cuts)))


def refuse_cut_words(base: Base, method: str, settings: Any, class_word: str, examples: Examples) -> None:
    """
    Raises:
        TriptychError: a phrase does not fit into a prompt, or is cut off in the caption of a picture: the method would
            learn nothing of it.
    """
    kind, phrase = method_named(method), method_named(method).phrase(settings, class_word)
    room = min(text.limit for text in base.texts)
    longest = max(kind.phrase_tokens(text, settings, class_word) for text in base.texts)
    if longest > room:
        raise TriptychError(
            f"{method}: {phrase!r} is {longest} tokens long, but only {room} are read of a prompt; choose a shorter"
            " word or fewer vectors"
        )
    reading = reading_of(base, method, settings, class_word, examples.templates, examples.names)
    lost = [cut.place for cut in reading.cut if cut.word]
    if lost:
        more = f" and {len(lost) - WORST} more" if len(lost) > WORST else ""
        raise TriptychError(
            f"{method}: the concept's word {phrase!r} is cut off, since only {room} tokens are read of a caption:"
            f" {', '.join(lost[:WORST])}{more}; shorten these captions, or put the word at their beginning"
        )


def _lengths(text: Text, templates: Sequence[str]) -> list[tuple[int, int]]:
    """Tokens before and after the phrase, of each template."""
    parts = [template.partition("{}") for template in templates]
    before = text.spell([first for first, _, _ in parts])
    after = text.spell([last for _, _, last in parts])
    return [(len(a), len(b)) for a, b in zip(before, after, strict=True)]
