"""Lists of folders of other trainers, as far as they mean the same: which folders, how often, of which words.

kohya's sd-scripts: `[[datasets.subsets]]` with image_dir, num_repeats, class_tokens, is_reg. ai-toolkit: `datasets`
with folder_path, num_repeats, is_reg, trigger_word. OneTrainer: concepts with path, balancing, enabled. What a list
says for several folders holds for each that does not say otherwise. Other entries are noted.
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Any

from ..errors import TriptychError, first_line, shown
from .folder import TEXTS, read_text
from .notes import Note

if TYPE_CHECKING:
    from pathlib import Path

LISTS = frozenset({".toml", ".yaml", ".yml", ".json"})
KNOWN = {  # what is read, and what needs no note
    "kohya": {"image_dir", "num_repeats", "class_tokens", "is_reg"},
    "ai-toolkit": {"folder_path", "num_repeats", "is_reg", "trigger_word"},
    "onetrainer": {
        "path", "balancing", "enabled", "type", "name", "balancing_strategy", "seed", "include_subdirectories",
    },
}  # fmt: skip
BUCKETS = "enable_bucket"
SUFFIX = ("caption_extension", "caption_ext")  # needs no note where captions with this suffix are read anyway


@dataclass(frozen=True)
class Listed:
    """A folder that a list names.

    Attributes:
        repeats: how often its pictures are shown.
        words: the identifier and the class; of a `trigger` the identifier, where it is one word.
        of_class: whether it shows the class.
        trigger: whether its words are a trigger word, which captions may write as "[trigger]".
        tables: with captions of its pictures, besides those in it.
    """

    folder: Path
    repeats: Fraction = Fraction(1)
    words: str = ""
    of_class: bool = False
    trigger: bool = False
    tables: tuple[Path, ...] = ()


def listed(path: Path) -> tuple[list[Listed], list[Note]]:
    """The folders of a list, and notes on entries that are not used. Relative paths start at the list.

    Raises:
        TriptychError: the file cannot be read, or is no such list.
    """
    said = _parsed(path)
    name, tables = _tables(path, said)
    found, notes = [], []
    for table in tables:
        entry = _entry(path, name, table)
        if entry is not None:
            found.append(entry)
        unknown = sorted(key for key, value in table.items() if not _needs_no_note(name, key, value))
        if unknown:
            where = entry.folder.name if entry else "an entry"
            notes.append(Note(path, f"not used of {where}: {', '.join(unknown)}"))
    return found, notes


def _needs_no_note(name: str, key: str, value: Any) -> bool:
    if key == BUCKETS:
        return value is not False  # pictures are put into buckets, unless `--framing square` says otherwise
    is_read = key in KNOWN[name] or (key in SUFFIX and f".{str(value).lstrip('.')}" in TEXTS)
    return is_read or value in (None, False, "")


def _parsed(path: Path) -> Any:
    text = read_text(path)
    try:
        match path.suffix.lower():
            case ".toml":
                return tomllib.loads(text)
            case ".json":
                return json.loads(text)
        import yaml

        return yaml.safe_load(text)
    except Exception as error:  # three parsers, each with its own errors
        raise TriptychError(f"cannot read {path}: {first_line(error)}") from error


def _tables(path: Path, said: Any) -> tuple[str, Sequence[Mapping[str, Any]]]:
    """Whose list it is, and its entries."""
    if isinstance(said, list) and all(isinstance(entry, Mapping) and "path" in entry for entry in said) and said:
        return "onetrainer", said
    if isinstance(said, Mapping):
        named = _mappings(said.get("datasets"))
        general = said.get("general")
        whole = general if isinstance(general, Mapping) else {}
        subsets = [
            {key: value for key, value in {**whole, **dataset, **subset}.items() if key != "subsets"}
            for dataset in named
            for subset in _mappings(dataset.get("subsets"))
        ]
        if subsets:
            return "kohya", subsets
        config = said.get("config")
        processes = _mappings(config.get("process")) if isinstance(config, Mapping) else []
        datasets = [
            {"trigger_word": process.get("trigger_word"), **dataset}
            for process in processes
            for dataset in _mappings(process.get("datasets"))
        ]
        datasets = datasets or [dict(dataset) for dataset in named if "folder_path" in dataset]
        if datasets:
            return "ai-toolkit", datasets
    raise TriptychError(
        f"{path} is no list of folders that is known: kohya's [[datasets.subsets]], ai-toolkit's datasets, or"
        " OneTrainer's concepts; give a folder of pictures instead"
    )


def _mappings(value: Any) -> list[Mapping[str, Any]]:
    return [entry for entry in value if isinstance(entry, Mapping)] if isinstance(value, list) else []


def _entry(path: Path, name: str, table: Mapping[str, Any]) -> Listed | None:
    """The entry of a table; None if it is switched off.

    Raises:
        TriptychError: it names no folder, or a number is none.
    """
    folder = table.get({"kohya": "image_dir", "ai-toolkit": "folder_path", "onetrainer": "path"}[name])
    if name == "onetrainer" and not table.get("enabled", True):
        return None
    if not isinstance(folder, str) or not folder:
        raise TriptychError(f"{path}: an entry names no folder of pictures")
    repeats = _number(path, table.get("balancing" if name == "onetrainer" else "num_repeats", 1))
    words = table.get({"kohya": "class_tokens", "ai-toolkit": "trigger_word", "onetrainer": "-"}[name], "")
    of_class = bool(table.get("is_reg")) or table.get("type") == "PRIOR_PREDICTION"
    words = words if isinstance(words, str) else ""
    return Listed(path.parent / folder, repeats, words, of_class, trigger=name == "ai-toolkit" and bool(words))


def _number(path: Path, value: Any) -> Fraction:
    try:
        return Fraction(str(value))
    except (ValueError, ZeroDivisionError) as error:
        raise TriptychError(f"{path}: {shown(value)} is no number of repeats") from error
