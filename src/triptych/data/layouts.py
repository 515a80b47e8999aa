"""Where the pictures of concepts lie: one folder, kohya's or ImageFolder's nested folders, or another trainer's list.

kohya's folders are called `10_ohwx cat`: how often each picture is shown, an identifier, and a class. Folders with
other words show another concept. A folder `reg` beside them holds the user's own pictures of the class. ImageFolder, of
the library datasets, has pictures in `train`, or a folder in `train` for each class, and a table of captions beside it
or in it. Lists: kohya's dataset TOML, ai-toolkit's YAML, OneTrainer's `concepts.json`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
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
TRAIN, OTHER_SPLITS = "train", ("test", "val", "valid", "validation")
OF_CLASS = re.compile(r"reg|regs|regularization|regularisation|class", re.IGNORECASE)
FINEST = 8  # the greatest denominator of a weight
NO_CLASS_SAID = "not used: it does not say of which of the classes it is; call it such as '1_cat'"


@dataclass(frozen=True)
class Part:
    """A folder of pictures.

    Attributes:
        repeats: how often each of them is shown, in whole numbers without a common factor.
        tables: with their captions, besides those in the folder.
    """

    folder: Path
    repeats: int = 1
    tables: tuple[Path, ...] = ()


@dataclass(frozen=True)
class Layout:
    """The folders of one concept.

    Attributes:
        parts: the folders with its pictures.
        class_word: what names or lists say that it is; "" if nothing.
        token: the identifier that they name; "" if none.
        of_class: the folder with pictures of the class, if there is one.
        notes: on what is not used.
        words: by which its folders are told from those of other concepts there; "" if there are none.
        weight: times each of its pictures is shown for one repeat of its part, beside other concepts.
        trigger: whether captions may write the token as "[trigger]".
    """

    parts: tuple[Part, ...]
    class_word: str = ""
    token: str = ""
    of_class: Path | None = None
    notes: tuple[Note, ...] = ()
    words: str = ""
    weight: Fraction = Fraction(1)
    trigger: bool = False


@dataclass(frozen=True)
class _Found:
    """What a place names: folders of pictures, notes, and a folder with pictures of the class beside them."""

    entries: Sequence[Listed]
    notes: Sequence[Note]
    of_class: Path | None = None


def layout_of(place: Path) -> Layout:
    """How the pictures at a place are laid out, where all are of one concept.

    Raises:
        TriptychError: a list cannot be read, or names no folder with pictures.
    """
    found = _found(place)
    return _of(place, found.entries, found.notes, found.of_class) if found else Layout((Part(place),))


def layouts_of(place: Path) -> tuple[Layout, ...]:
    """How the pictures at a place are laid out: a layout for each concept that its folders name by other words.

    A folder without words belongs to the first concept.

    Raises:
        TriptychError: a list cannot be read, or names no folder with pictures.
    """
    found = _found(place)
    own = [entry for entry in found.entries if not entry.of_class and entry.repeats > 0] if found else []
    names = list(dict.fromkeys(words for entry in own if (words := tuple(entry.words.split()))))
    if found is None or len(names) < 2:
        return (named(place),)
    rest = [entry for entry in found.entries if entry not in own]
    classes = [entry for entry in rest if entry.of_class] or _classes(found.of_class)
    layouts, taken = [], list[Listed]()
    for words in names:
        mine = [entry for entry in own if (tuple(entry.words.split()) or names[0]) == words]
        theirs = [entry for entry in classes if _is_of(entry, words[-1], names)]
        taken += theirs
        layouts.append(replace(_of(place, [*mine, *theirs], ()), words=" ".join(words)))
    notes = [Note(entry.folder, "not used: it is to be shown 0 times") for entry in rest if not entry.of_class]
    notes += [Note(entry.folder, NO_CLASS_SAID) for entry in classes if entry not in taken]
    return (replace(layouts[0], notes=(*found.notes, *layouts[0].notes, *notes)), *layouts[1:])


def _is_of(entry: Listed, class_word: str, names: Sequence[tuple[str, ...]]) -> bool:
    """Whether a folder shows a class: by its words, or without any, if all concepts are of that class."""
    own = entry.words.split()
    return own[-1] == class_word if own else all(words[-1] == class_word for words in names)


def named(place: Path) -> Layout:
    """The layout of a folder of pictures whose own name is one of kohya's (`10_ohwx cat`); else that of `layout_of`.

    The class word is left to be read off the name as that of any folder.
    """
    match = KOHYA.fullmatch(place.resolve().name)
    if match and place.is_dir() and contents(place).pictures:
        return replace(_of(place, [Listed(place, Fraction(int(match[1])), match[2])], ()), class_word="")
    return layout_of(place)


def _classes(of_class: Path | None) -> list[Listed]:
    """The folders with pictures of a class: one, or kohya's folders in it."""
    if of_class is None:
        return []
    match = KOHYA.fullmatch(of_class.name)
    own = Listed(of_class, words=match[2] if match else "", of_class=True)
    return [replace(entry, of_class=True) for entry in _nested(of_class)] or [own]


def _found(place: Path) -> _Found | None:
    """The folders that a place names; None where it is itself a folder of pictures."""
    if place.is_file() and place.suffix.lower() in LISTS:
        return _Found(*listed(place))
    if not place.is_dir() or contents(place).pictures:
        return None
    for root in (place, *(place / name for name in IMAGES)):
        nested = _nested(root)
        if nested and not contents(root).pictures:
            of_class = _of_class(place, root)
            used = {*(entry.folder for entry in nested), root, of_class, of_class.parent if of_class else None}
            others = {
                note: None for folder in (place, root) for note in contents(folder).notes if note.path not in used
            }
            return _Found(nested, list(others), of_class)
    return _image_folder(place)


def _image_folder(place: Path) -> _Found | None:
    """The folders of an ImageFolder: one with all pictures (`train`, `images`), or those of the classes in `train`.

    None where other folders beside it have pictures, too.
    """
    found = contents(place)
    splits = [path for path in found.folders if path.name in OTHER_SPLITS]
    inner, tables = [path for path in found.folders if path not in splits], found.tables
    notes = [note for note in found.notes if note.path not in found.folders]
    notes += [Note(path, "not used: what it holds is not for training") for path in splits]
    root = place if place.name == TRAIN else place / TRAIN
    if len(inner) == 1 and inner[0].name in IMAGES and contents(inner[0]).pictures:
        return _Found([Listed(inner[0], tables=tables)], notes)
    if root == place or inner == [root]:
        classes = [path for path in contents(root).folders if contents(path).pictures]
        words = [" ".join(re.findall(r"[^\W\d_]+", path.name)) for path in classes]
        if classes and all(words):
            tables = tuple(dict.fromkeys((*tables, *contents(root).tables)))
            named = zip(classes, words, strict=True)
            return _Found([Listed(path, words=said, tables=tables) for path, said in named], notes)
    return None


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
    counts = whole_repeats([entry.repeats for entry in own])
    parts = tuple(Part(entry.folder, count, entry.tables) for entry, count in zip(own, counts, strict=True))
    weight = _fine(own[0].repeats) / counts[0]
    more = [Note(entry.folder, "not used: it is to be shown 0 times") for entry in silent]
    more += [Note(folder, "not used: only one folder of class pictures is") for folder in theirs[1:]]
    class_word, token, said = _words(own)
    return Layout(
        parts, class_word, token, theirs[0] if theirs else of_class, (*notes, *more, *said), weight=weight,
        trigger=any(entry.trigger for entry in own),
    )  # fmt: skip


def whole_repeats(weights: Sequence[Fraction]) -> list[int]:
    """The smallest whole numbers in proportion to positive weights, each rounded to eighths or coarser."""
    fine = [_fine(weight) for weight in weights]
    whole = [int(weight * lcm(*(each.denominator for each in fine))) for weight in fine]
    return [count // gcd(*whole) for count in whole]


def _fine(weight: Fraction) -> Fraction:
    return weight.limit_denominator(FINEST) or Fraction(1, FINEST)


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
    if len(first) == 1:
        return ("", first[0], notes) if named[0][0].trigger else (first[0], "", notes)
    return (first[-1], first[0], notes)
