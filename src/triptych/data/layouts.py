"""Where the pictures of a concept lie: one folder, kohya's nested folders, or a list of folders of another trainer.

kohya's folders are called `10_ohwx cat`: how often each picture is shown, an identifier, and a class. A folder `reg`
beside them holds the user's own pictures of the class. Lists: kohya's dataset TOML, ai-toolkit's YAML, OneTrainer's
`concepts.json`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import gcd, lcm
from typing import TYPE_CHECKING

from ..errors import TriptychError
from .folder import contents
from .listings import LISTS, Listed, listed
from .notes import Note

if TYPE_CHECKING:
    from pathlib import Path

KOHYA = re.compile(r"(\d+)_(.+)", re.DOTALL)
IMAGES = ("img", "image", "images", "train")  # folders of kohya's window that hold the nested folders
OF_CLASS = re.compile(r"reg|regs|regularization|regularisation|class", re.IGNORECASE)
FINEST = 8  # the greatest denominator of a weight


@dataclass(frozen=True)
class Part:
    """A folder of pictures, and how often each of them is shown, in whole numbers without a common factor."""

    folder: Path
    repeats: int = 1


@dataclass(frozen=True)
class Layout:
    """The folders of one concept.

    Attributes:
        parts: the folders with its pictures.
        class_word: what names or lists say that it is; "" if nothing.
        token: the identifier that they name; "" if none.
        of_class: the folder with pictures of the class, if there is one.
        notes: on what is not used.
    """

    parts: tuple[Part, ...]
    class_word: str = ""
    token: str = ""
    of_class: Path | None = None
    notes: tuple[Note, ...] = ()


def layout_of(place: Path) -> Layout:
    """How the pictures at a place are laid out.

    Raises:
        TriptychError: a list cannot be read, or names no folder with pictures.
    """
    if place.is_file() and place.suffix.lower() in LISTS:
        entries, notes = listed(place)
        return _of(place, entries, notes)
    if not place.is_dir() or contents(place).pictures:
        return Layout((Part(place),))
    for root in (place, *(place / name for name in IMAGES)):
        nested = _nested(root)
        if nested and not contents(root).pictures:
            of_class = _of_class(place, root)
            used = {*(entry.folder for entry in nested), root, of_class, of_class.parent if of_class else None}
            others = {
                note: None for folder in (place, root) for note in contents(folder).notes if note.path not in used
            }
            return _of(root, nested, list(others), of_class)
    return Layout((Part(place),))


def _nested(root: Path) -> list[Listed]:
    """kohya's folders in a folder."""
    try:
        inner = sorted(path for path in root.iterdir() if path.is_dir() and KOHYA.fullmatch(path.name))
    except OSError:
        return []
    found = []
    for path in inner:
        match = KOHYA.fullmatch(path.name)
        assert match is not None
        found.append(Listed(path, Fraction(int(match[1])), match[2]))
    return found


def _of_class(place: Path, root: Path) -> Path | None:
    """The folder with pictures of the class beside kohya's folders; the only folder in it, if it is nested too."""
    for folder in (place, root, root.parent if root == place else place):
        for path in sorted(folder.iterdir()):
            if path.is_dir() and OF_CLASS.fullmatch(path.name):
                inner = _nested(path)
                return inner[0].folder if len(inner) == 1 else path
    return None


def _of(place: Path, entries: Sequence[Listed], notes: Sequence[Note], of_class: Path | None = None) -> Layout:
    own = [entry for entry in entries if not entry.of_class and entry.repeats > 0]
    silent = [entry for entry in entries if not entry.of_class and entry.repeats <= 0]
    theirs = [entry.folder for entry in entries if entry.of_class]
    if not own:
        raise TriptychError(f"{place} names no folder of pictures to learn")
    weights = [entry.repeats.limit_denominator(FINEST) or Fraction(1, FINEST) for entry in own]
    whole = [int(weight * lcm(*(fraction.denominator for fraction in weights))) for weight in weights]
    common = gcd(*whole)
    parts = tuple(Part(entry.folder, count // common) for entry, count in zip(own, whole, strict=True))
    more = [Note(entry.folder, "not used: it is to be shown 0 times") for entry in silent]
    more += [Note(folder, "not used: only one folder of class pictures is") for folder in theirs[1:]]
    class_word, token, said = _words(own)
    return Layout(parts, class_word, token, theirs[0] if theirs else of_class, (*notes, *more, *said))


def _words(entries: Sequence[Listed]) -> tuple[str, str, list[Note]]:
    """The class word and the identifier that the entries name; the first's, if they differ."""
    named = [(entry, entry.words.split()) for entry in entries if entry.words.split()]
    if not named:
        return "", "", []
    first = named[0][1]
    notes = [
        Note(
            entry.folder,
            f"its words {entry.words!r} are not used: all pictures are of one concept, {' '.join(first)!r}",
        )
        for entry, words in named[1:]
        if words != first
    ]
    return (first[-1], first[0] if len(first) > 1 else "", notes)
