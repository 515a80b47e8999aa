"""Summarises a folder in a few lines, which the user reads before a training starts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..errors import printable
from ..units import counted
from .notes import lines, total

if TYPE_CHECKING:
    from .concept import Concept


def summary(concept: Concept) -> list[str]:
    """Lines on what is left out or not used as given, with reasons; then lines on what is used."""
    captions = counted(sum(bool(picture.caption) for picture in concept.pictures), "caption")
    left_out = f", {len(concept.broken)} left out" if concept.broken else ""
    pictures = f"{counted(len(concept.pictures), 'picture')}{left_out}; {captions}"
    words = f"class word: {concept.class_word!r}, {concept.class_from}; kind: {concept.kind}"
    used = [f"{concept.name}: {pictures}", words]
    if concept.class_folder:
        used.append(f"{concept.class_folder.name}: pictures of the class, for a training of DreamBooth alone")
    return [*remarks(concept), *map(printable, used)]


def remarks(concept: Concept) -> list[str]:
    """A line for each reason why a picture is left out or something else is not used as given."""
    return [f"left out: {line}" for line in lines(concept.broken)] + lines(concept.notes)


def count(concept: Concept) -> str:
    """The last line of a run: how many things of the folder were not used as given; "" if everything was."""
    return total(len(concept.broken) + len(concept.notes))
