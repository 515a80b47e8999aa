"""Sorts the files of a folder: pictures, masks, captions and tables of captions. Other files are reported as notes."""

from __future__ import annotations

import re
from dataclasses import dataclass
from difflib import get_close_matches
from typing import TYPE_CHECKING

from ..errors import TriptychError
from .notes import Note
from .pictures import is_picture, suffixes

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

SETTINGS_FILE = "concept.toml"
PROMPTS_FILE = "prompts.txt"
OWN = frozenset({SETTINGS_FILE, PROMPTS_FILE})
BESIDES = re.compile(r"readme|licen[cs]e|notice|attribution|thumbs\.db$|desktop\.ini$", re.IGNORECASE)  # not noted
TEXTS = frozenset({".txt", ".caption"})
TABLES = re.compile(r"metadata\.jsonl|metadata\.csv|meta_\w+\.json", re.IGNORECASE)
MASK = re.compile(r"(.+)[-_. ](?:mask|masklabel|condlabel)", re.IGNORECASE | re.DOTALL)
MASK_FOLDERS = ("masks", "mask")
A_MASK = "left out: named as the mask of the picture beside it, and weighs the loss only where masks are on"


@dataclass(frozen=True)
class Contents:
    """The files directly in a folder, each list sorted by name."""

    pictures: tuple[Path, ...]
    texts: tuple[Path, ...]  # with one caption each
    tables: tuple[Path, ...]  # captions of many pictures
    notes: tuple[Note, ...]  # on other files
    folders: tuple[Path, ...] = ()


def contents(folder: Path) -> Contents:
    """Sort the files of a folder.

    Raises:
        TriptychError: there is no such folder, or it cannot be read.
    """
    entries = _entries(folder)
    files = [path for path in entries if path.is_file() and path.name not in OWN]
    texts = [path for path in files if path.suffix.lower() in TEXTS]
    tables = [path for path in files if TABLES.fullmatch(path.name)]
    rest = [path for path in files if path not in {*texts, *tables}]
    found = [path for path in rest if is_picture(path)]
    masks = _masks(found)
    others = [path for path in rest if path not in set(found) and not BESIDES.match(path.name)]
    notes = [
        *(Note(path, A_MASK) for path in masks),
        *(Note(path, "not used: neither a picture nor a caption") for path in others),
        *(note for path in entries if not path.is_file() for note in _not_a_file(path)),
    ]
    folders = tuple(path for path in entries if path.is_dir())
    own = tuple(path for path in found if path not in masks)
    return Contents(own, tuple(texts), tuple(tables), tuple(notes), folders)


def pictures_below(folder: Path) -> int:
    """The number of files in a subfolder with the suffix of a picture; 0 if it cannot be read."""
    try:
        return sum(path.suffix.lower() in suffixes() for path in folder.iterdir() if not path.name.startswith("."))
    except OSError:
        return 0


def read_text(path: Path) -> str:
    """Read a text file without its byte-order mark: UTF-8, or UTF-16 if it has that mark.

    Raises:
        TriptychError: the file cannot be read, or has another encoding.
    """
    try:
        data = path.read_bytes()
        text = data.decode("utf-16" if data[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig")
    except FileNotFoundError as error:
        raise TriptychError(f"there is no file {path}; check the path") from error
    except (OSError, UnicodeDecodeError) as error:
        raise TriptychError(f"cannot read {path} as text ({error}); save it as UTF-8 or remove it") from error
    if "\0" in text:  # UTF-16 without a mark, or not a text
        raise TriptychError(f"cannot read {path} as text (it has zero bytes); save it as UTF-8 or remove it")
    return text


def _masks(pictures: Sequence[Path]) -> list[Path]:
    """The pictures that are masks: those named after another picture."""
    stems = {path.stem.lower() for path in pictures}
    named = ((path, MASK.fullmatch(path.stem)) for path in pictures)
    return [path for path, match in named if match and match[1].lower() in stems]


def _not_a_file(path: Path) -> list[Note]:
    """A note on a subfolder or a broken link; none on a subfolder without pictures."""
    if not path.is_dir():
        return [Note(path, "not used: neither a file nor a folder that can be opened")]
    count = pictures_below(path)
    if path.name in MASK_FOLDERS:
        return [Note(path, "masks: they weigh the loss only where masks are on")] if count else []
    what = f"{count} pictures in it are" if count > 1 else "the picture in it is"
    return [Note(path, f"{what} not used: subfolders are not entered")] if count else []


def _entries(folder: Path) -> list[Path]:
    """The visible entries of a folder, sorted by name."""
    if folder.is_file():
        raise TriptychError(f"{folder} is a file; give the folder that the pictures lie in")
    try:
        if not folder.exists():
            near = get_close_matches(folder.name, [path.name for path in folder.parent.glob("*/")], n=1)
            advice = f"did you mean {near[0]!r}?" if near else "check the path"
            raise TriptychError(f"there is no folder {folder}; {advice}")
        return sorted(path for path in folder.iterdir() if not path.name.startswith("."))
    except OSError as error:
        raise TriptychError(f"cannot read the folder {folder}: {error.strerror}; check its permissions") from error
