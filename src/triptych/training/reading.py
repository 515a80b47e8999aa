"""Reports how much of the captions a text encoder reads. Tokens beyond its positions are cut."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ..base import Base, Text
from ..data.examples import Examples
from ..errors import TriptychError, shown
from ..methods import method_named

WORST = 5  # captions that a message names


@dataclass(frozen=True)
class Cut:
    """A caption that is `tokens` too long. `word`: whether the concept's word is cut too."""

    place: str  # the picture's file, or the caption if the file is unknown
    tokens: int
    word: bool


@dataclass(frozen=True)
class Reading:
    """How many tokens of a caption are read (`room`), and the captions that are longer."""

    room: int
    captions: int
    cut: tuple[Cut, ...]

    def __str__(self) -> str:
        """A line for the user; "" if nothing is cut."""
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
    base: Base, method: str, settings: Any, class_word: str, templates: Sequence[str], names: Sequence[str] = (),
    chunks: int = 1,
) -> Reading:  # fmt: skip
    """Count the tokens of captions, given as templates with "{}" in place of the method's phrase.

    If a base has several text encoders, the one that cuts most tokens counts. `chunks`: those of a caption that are
    read at most.
    """
    cuts: dict[int, Cut] = {}
    for text in base.texts:
        phrase = method_named(method).phrase_tokens(text, settings, class_word)
        room = text.limit(chunks)
        for i, (before, after) in enumerate(_lengths(text, templates)):
            over = before + phrase + after - room
            if over > 0 and (i not in cuts or over > cuts[i].tokens):
                place = names[i] if i < len(names) else f'"{shown(templates[i])}"'
                cuts[i] = Cut(place, over, before + phrase > room)
    room = min(text.limit(chunks) for text in base.texts)
    return Reading(room, len(templates), tuple(cuts[i] for i in sorted(cuts)))


def refuse_cut_words(base: Base, method: str, settings: Any, class_word: str, examples: Examples) -> None:
    """Check that the concept's word is read in every caption. Without it the method would learn nothing.

    Raises:
        TriptychError: a phrase does not fit into a prompt, or is cut off in the caption of a picture.
    """
    kind, phrase = method_named(method), method_named(method).phrase(settings, class_word)
    room = min(text.limit(examples.chunks) for text in base.texts)
    longest = max(kind.phrase_tokens(text, settings, class_word) for text in base.texts)
    if longest > room:
        raise TriptychError(
            f"{method}: {phrase!r} is {longest} tokens long, but only {room} are read of a prompt; choose a shorter"
            " word or fewer vectors"
        )
    reading = reading_of(base, method, settings, class_word, examples.templates, examples.names, examples.chunks)
    lost = [cut.place for cut in reading.cut if cut.word]
    if lost:
        more = f" and {len(lost) - WORST} more" if len(lost) > WORST else ""
        raise TriptychError(
            f"{method}: the concept's word {phrase!r} is cut off, since only {room} tokens are read of a caption:"
            f" {', '.join(lost[:WORST])}{more}; shorten these captions, or put the word at their beginning"
        )


def _lengths(text: Text, templates: Sequence[str]) -> list[tuple[int, int]]:
    """The number of tokens before and after the phrase, for each template."""
    parts = [template.partition("{}") for template in templates]
    before = text.spell([first for first, _, _ in parts])
    after = text.spell([last for _, _, last in parts])
    return [(len(a), len(b)) for a, b in zip(before, after, strict=True)]
