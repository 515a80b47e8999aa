"""The concepts that several places hold: folders of pictures, folders of such folders, and two published sets of them.

* DreamBooth's subjects (arXiv:2208.12242): `dataset/<subject>/*.jpg`, and `prompts_and_classes.txt` beside the folders
  names the class of each.
* DreamBench++ (arXiv:2406.16855): `images/<category>/.../NN.jpg`, one picture a concept, and `captions/<category>/.../
  NN.txt`, whose first line names the subject and whose others are prompts.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from ..errors import TriptychError
from .concept import layouts_in
from .folder import contents, pictures_below, read_text
from .layouts import Layout

CLASSES = "prompts_and_classes.txt"
HEADS = ("subject_name", "class")  # of the table in it
IMAGES, CAPTIONS = "images", "captions"
NO_PROMPTS = "its prompts are not used: a study asks what its base's population of prompts asks"
ONE_PICTURE = (
    "one picture: it would both train and judge, so likeness could not be told from copying, and there is no scale from"
    " the bare base to real pictures"
)

Layouts = Callable[[Path], Sequence[Layout]]  # the layouts of the concepts at a place


@dataclass(frozen=True)
class Entry:
    """A concept's place and what its collection says of it.

    Attributes:
        only: the words of its folders, where the place has folders of other concepts, too.
        unfit: why it cannot be studied; "" where it can.
    """

    name: str  # unique among the concepts
    place: Path
    class_word: str = ""
    kind: str = ""
    only: str = ""
    unfit: str = ""


@dataclass(frozen=True)
class Collection:
    """The concepts that were found, and notes on what is not used."""

    entries: tuple[Entry, ...]
    notes: tuple[str, ...] = ()


def concepts_in(places: Sequence[Path], *, class_word: str = "", token: str = "", only: str = "") -> Collection:
    """The concepts of all places, in order; names that occur twice get a number.

    Args:
        class_word, token, only: as in `layouts_in`.

    Raises:
        TriptychError: a place cannot be read, or holds no pictures.
    """
    chosen = partial(layouts_in, class_word=class_word, token=token, only=only)
    found = [_concepts_of(place, chosen) for place in places]
    entries: dict[str, Entry] = {}
    for entry in (entry for collection in found for entry in collection.entries):
        names = (entry.name, *(f"{entry.name}-{i}" for i in range(2, len(entries) + 3)))
        name = next(name for name in names if name not in entries)
        entries[name] = replace(entry, name=name)
    return Collection(tuple(entries.values()), tuple(note for collection in found for note in collection.notes))


def _concepts_of(place: Path, chosen: Layouts) -> Collection:
    if own := tuple(_laid_out(place, chosen)):
        return Collection(own)
    for root in (place, place / "data"):
        if (root / IMAGES).is_dir() and (root / CAPTIONS).is_dir():
            return Collection(tuple(_one_picture_each(root)), (f"{root / CAPTIONS}: {NO_PROMPTS}",))
    for root in (place, place / "dataset"):
        if (root / CLASSES).is_file():
            return _with_classes(root)
    entries = tuple(entry for folder in _inner(place) for entry in _laid_out(folder, chosen))
    return Collection(entries or (Entry(_name(place), place),))  # a study says what an empty folder lacks


def _laid_out(place: Path, chosen: Layouts) -> Iterator[Entry]:
    """The concepts that a list, a folder of pictures or kohya's folders show; none of another folder."""
    for layout in chosen(place):
        own = layout.parts[0].folder
        if place.is_file() or own != place or contents(place).pictures:
            yield Entry(own.name if layout.words else _name(place), place, only=layout.words)


def _name(place: Path) -> str:
    """The folder's own name, also of a link, of `.` and of `..`."""
    name = place.absolute().name
    return place.resolve().name if name == ".." else name


def _inner(place: Path) -> list[Path]:
    return sorted(path for path in place.iterdir() if path.is_dir() and not path.name.startswith("."))


def _with_classes(root: Path) -> Collection:
    classes = dict(_classes(root / CLASSES))
    folders = [folder for folder in _inner(root) if pictures_below(folder)]
    entries = tuple(Entry(folder.name, folder, classes.get(folder.name, "")) for folder in folders)
    notes = [f"{root / CLASSES}: {NO_PROMPTS}"]
    notes += [f"{root / entry.name}: {CLASSES} names no class for it" for entry in entries if not entry.class_word]
    missing = [name for name in classes if name not in {folder.name for folder in folders}]
    notes += [f"{root / CLASSES} names {name!r}, and there is no folder with its pictures" for name in missing]
    return Collection(entries, tuple(notes))


def _classes(path: Path) -> Iterator[tuple[str, str]]:
    """Subject and class, from the table that begins with its head and ends with an empty line.

    Raises:
        TriptychError: the file has no such table.
    """
    lines = [line.strip() for line in read_text(path).splitlines()]
    heads = [i for i, line in enumerate(lines) if tuple(line.replace(" ", "").split(",")) == HEADS]
    if not heads:
        raise TriptychError(f"{path} has no table of classes; it begins with the line {','.join(HEADS)}")
    table = lines[heads[0] + 1 :]
    table = table[: table.index("")] if "" in table else table
    for row in csv.reader(table):
        if len(row) == len(HEADS):
            yield row[0].strip(), row[1].strip()


def _one_picture_each(root: Path) -> Iterator[Entry]:
    """The concepts of DreamBench++, each with the subject that its captions name first."""
    for caption in sorted((root / CAPTIONS).rglob("*.txt")):
        inside = caption.relative_to(root / CAPTIONS).with_suffix("")
        lines = read_text(caption).splitlines()
        subject = lines[0].strip() if lines else ""
        kind = "style" if "style" in inside.parts else "subject"
        name = "-".join((*inside.parts, *subject.lower().split()))
        yield Entry(name, root / IMAGES / inside.with_suffix(".jpg"), subject, kind, unfit=ONE_PICTURE)
