"""Captions: a text file beside each picture, or tables for many pictures.

The tables are `metadata.jsonl`, `metadata.csv` and kohya's `meta_cap.json`. A table takes precedence over a text file.
Every line that gives no picture a caption is reported as a note.
"""

from __future__ import annotations

import csv
import io
import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from ..errors import first_line, shown
from .folder import read_text
from .notes import Note

NAMES = ("file_name", "image_path", "filename", "image", "file")  # columns that name the picture
CAPTIONS = ("text", "caption", "prompt")
TAGS = "tags"
WANTED = 'a line is wanted such as {"file_name": "1.png", "text": "a caption"}'


@dataclass(frozen=True)
class Row:
    """One row of a table: the picture's name, its caption ("" if it has none), and a remark on what is not used."""

    name: str
    caption: str
    remark: str = ""
    line: int = 0


def captions_of(
    pictures: Sequence[Path], texts: Sequence[Path], tables: Sequence[Path]
) -> tuple[dict[str, str], list[Note]]:
    """The captions by picture name, and notes on what is not used."""
    captions: dict[str, str] = {}
    notes: list[Note] = []
    known = {path.stem: path.name for path in pictures} | {path.name: path.name for path in pictures}
    folder = pictures[0].parent if pictures else Path()
    for path in tables:
        for entry in _entries(path):
            notes += [entry] if isinstance(entry, Note) else _take(path, entry, known, captions, folder)
    names = {path.name: [path.name] for path in pictures}
    for path in pictures:
        names.setdefault(path.stem, []).append(path.name)
    for path in sorted(texts, key=lambda path: (path.suffix.lower() != ".txt", path.name)):
        notes += _take_text(path, names.get(path.stem, []), captions)
    return captions, notes


def _take_text(path: Path, names: Sequence[str], captions: dict[str, str]) -> list[Note]:
    """Add the caption in a text file to the pictures of its name."""
    if not names:
        return [Note(path, "not used: there is no picture of that name")]
    caption = read_text(path).strip()
    free = [name for name in names if not captions.get(name)]
    captions |= dict.fromkeys(free, caption)
    differs = caption and any(captions[name] != caption for name in names)
    return [Note(path, "not used: its picture has another caption, which goes before")] if differs else []


def _take(path: Path, row: Row, known: Mapping[str, str], captions: dict[str, str], folder: Path) -> list[Note]:
    """Add the caption of a table's row to the picture that it names. `folder`: that of the pictures."""
    notes = [Note(path, row.remark, row.line)] if row.remark else []
    name, reason = _picture_named(row.name, known, path.parent, folder)
    if reason:
        notes.append(Note(path, reason, row.line))
    elif name and row.caption and captions.get(name, row.caption) != row.caption:
        notes.append(Note(path, f"not used: {shown(name)} has another caption, which came before", row.line))
    elif name and row.caption:
        captions[name] = row.caption
    return notes


def _picture_named(said: str, known: Mapping[str, str], start: Path, folder: Path) -> tuple[str, str]:
    """The name of the picture that a table names, and "" or the reason why there is no such picture.

    The name in the table may begin with "./", be an absolute path as in kohya's tools, or lack its suffix. A table of
    several folders may name pictures of the others, for which there is neither a name nor a reason.

    Args:
        start: where relative names start, the table's folder.
        folder: that of the pictures.
    """
    path = PurePosixPath(said.replace("\\", "/"))
    is_absolute = path.is_absolute() or bool(re.match(r"[A-Za-z]:", said))
    if not is_absolute and start / path.parent != folder:
        if start != folder and (start / path).exists():
            return "", ""
        return "", f"not used: {shown(said)} lies in another folder, and subfolders are not entered"
    found = known.get(path.name)
    return (found, "") if found else ("", f"not used: there is no picture {shown(said)}")


def _entries(path: Path) -> Iterator[Row | Note]:
    text = read_text(path)
    readers = {".jsonl": _from_jsonl, ".csv": _from_csv, ".json": _from_json}
    yield from readers[path.suffix.lower()](path, text)


def _from_jsonl(path: Path, text: str) -> Iterator[Row | Note]:
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            try:
                row = json.loads(line)
            except (ValueError, RecursionError):
                row = None
            yield _row(path, row, number) if isinstance(row, Mapping) else Note(path, f"not used: {WANTED}", number)


def _from_csv(path: Path, text: str) -> Iterator[Row | Note]:
    first = text.partition("\n")[0]
    delimiter = max(",;\t", key=first.count)
    reader = csv.DictReader(io.StringIO(text, newline=""), delimiter=delimiter)
    try:
        if not set(reader.fieldnames or ()) & set(NAMES):
            yield Note(path, "not used: its first line names no column file_name")
            return
        for row in reader:
            yield _row(path, row, reader.line_num)
    except csv.Error as error:
        yield Note(path, f"not used from here on: {first_line(error)}", reader.line_num)


def _from_json(path: Path, text: str) -> Iterator[Row | Note]:
    """kohya's format: an object whose keys are files and whose values have `caption` and `tags`, which are joined."""
    try:
        table = json.loads(text)
    except (ValueError, RecursionError) as error:
        yield Note(path, f"not used: it is no JSON ({first_line(error)})")
        return
    if not isinstance(table, Mapping):
        yield Note(path, "not used: an object with a key for each picture is wanted")
        return
    for name, entry in table.items():
        if not isinstance(entry, Mapping):
            yield Note(path, f"not used: what {shown(name)} has is no object with a caption")
            continue
        caption, remark = _caption(entry)
        tags, _ = _text_of(entry.get(TAGS), several=True) if any(entry.get(key) for key in CAPTIONS) else ("", "")
        yield Row(str(name), ", ".join(part for part in (caption, tags) if part), remark and f"{shown(name)}: {remark}")


def _row(path: Path, row: Mapping[str, Any], line: int) -> Row | Note:
    name = next((row[key] for key in NAMES if row.get(key)), None)
    if not isinstance(name, str):
        return Note(path, f"not used: it names no picture; {WANTED}", line)
    caption, remark = _caption(row)
    return Row(name, caption, remark, line)


def _caption(row: Mapping[str, Any]) -> tuple[str, str]:
    """The first caption of a row, else its tags; and a remark on what is wrong with it."""
    remark = "no caption: it has no text"
    for key in (*CAPTIONS, TAGS):
        if key in row:
            caption, remark = _text_of(row[key], several=key == TAGS)
            if caption:
                return caption, remark
    return "", remark


def _text_of(value: Any, several: bool) -> tuple[str, str]:
    """A caption from a table (the first of several; tags are joined), and a remark on what is not used."""
    match value:
        case None:
            return "", "no caption: it is null"
        case str():
            whole = value.encode("utf-8", "replace").decode()  # JSON can contain lone surrogates
            return whole.strip(), "" if whole == value else "it has ? for letters that are none"
        case bool() | Mapping():
            return "", f"no caption: {shown(value)} is no text"
        case int() | float():
            return (str(value), "") if math.isfinite(value) else ("", f"no caption: it is {value}")
        case list():
            texts = [text.strip() for text in value if isinstance(text, str) and text.strip()]
            if several or len(texts) < 2:
                return ", ".join(texts), "" if texts else "no caption: its list has no text"
            return texts[0], f"only the first of its {len(texts)} captions is used"
    return "", f"no caption: {shown(value)} is no text"
