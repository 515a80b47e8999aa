"""Files of prompts: one prompt per line, with the options of kohya's trainer and of A1111's script.

    a glossy cat --n low quality --w 512 --h 768 --d 7 --l 7.5 --s 28
    --prompt "a glossy cat" --negative_prompt "blurry" --steps 20 --seed 5

Lines that begin with # are comments. kohya's .toml and .json files of prompts are read too.
"""

from __future__ import annotations

import json
import re
import shlex
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from ..errors import TriptychError
from .folder import read_text

OPTION = re.compile(r"(?:^|(?<=\s))--([A-Za-z][\w-]*)(?:\s+|=|$)")
NAMES = {
    "prompt": "prompt",
    "n": "negative", "negative_prompt": "negative", "negative": "negative",
    "w": "width", "width": "width", "h": "height", "height": "height",
    "d": "seed", "seed": "seed",
    "l": "guidance", "cfg_scale": "guidance", "scale": "guidance",
    "s": "steps", "steps": "steps", "sample_steps": "steps",
    "ss": "sampler", "sampler_name": "sampler", "sampler_index": "sampler", "sample_sampler": "sampler",
}  # fmt: skip  # as kohya and A1111 call them -> the fields of `Line`


@dataclass(frozen=True)
class Line:
    """One prompt with its options; None for options that are not given.

    `where`: the line of the file, for messages.
    """

    prompt: str
    negative: str | None = None
    seed: int | None = None
    steps: int | None = None
    guidance: float | None = None
    sampler: str | None = None
    width: int | None = None
    height: int | None = None
    where: str = ""

    @property
    def options(self) -> list[str]:
        """The names of the options that are given."""
        names = (field.name for field in fields(self) if field.name not in ("prompt", "where"))
        return [name for name in names if getattr(self, name) is not None]


@dataclass(frozen=True)
class PromptFile:
    """The prompts of a file, and a sentence for each thing in it that is not used."""

    lines: tuple[Line, ...]
    notes: tuple[str, ...] = ()


def read_prompts(path: Path) -> PromptFile:
    """Read a file of prompts.

    Raises:
        TriptychError: the file does not exist or is not UTF-8, or an option that must be a number is not one.
    """
    text, notes = read_text(path), list[str]()
    readers = {".toml": _toml, ".json": _json}
    tables = readers.get(path.suffix.lower(), _rows)(path, text, notes)
    return PromptFile(tuple(_line(where, table, notes) for where, table in tables), tuple(notes))


Table = tuple[str, Mapping[str, Any]]  # the line of the file, and its options


def _rows(path: Path, text: str, notes: list[str]) -> Iterator[Table]:
    hidden = []
    for number, row in enumerate(re.split(r"\r\n|\r|\n", text), start=1):
        row = row.strip()
        if row.startswith("#"):
            hidden += [number] if row[1:2].strip("# !-") else []
        elif row:
            yield f"line {number} of {path.name}", _options(row)
    if hidden:
        lines = f"line {hidden[0]} begins" if len(hidden) == 1 else f"{len(hidden)} lines begin"
        notes.append(f"{path.name}: {lines} with # and a letter, and count as comments")


def _options(row: str) -> dict[str, str]:
    """`{"prompt": ..., option: value, ...}` of one line."""
    if row.startswith("--"):
        try:
            words = shlex.split(row)
        except ValueError:  # an apostrophe
            words = []
        if words:
            found: dict[str, str] = {}
            for word in words:
                if word.startswith("--"):
                    name, _, value = word[2:].partition("=")
                    found[name] = value
                else:
                    name = next(reversed(found))
                    found[name] = f"{found[name]} {word}".strip()
            return {"prompt": "", **found}
    first, *pieces = OPTION.split(row)
    values = (value.strip() for value in pieces[1::2])
    return {"prompt": first.strip(), **dict(zip(pieces[::2], values, strict=True))}


def _toml(path: Path, text: str, notes: list[str]) -> Iterator[Table]:
    """kohya's format: `[prompt]` with common options, and one `[[prompt.subset]]` for each prompt."""
    try:
        shared = dict(tomllib.loads(text)["prompt"])
        subsets = shared.pop("subset")
        tables = [{**shared, **subset} for subset in subsets]
    except (tomllib.TOMLDecodeError, KeyError, TypeError, ValueError) as error:
        raise TriptychError(f"{path} is no file of prompts: kohya's has [[prompt.subset]] with prompt = ...") from error
    yield from ((f"prompt {number} of {path.name}", table) for number, table in enumerate(tables, start=1))


def _json(path: Path, text: str, notes: list[str]) -> Iterator[Table]:
    """kohya's format: a list of tables."""
    try:
        tables = [dict(table) for table in json.loads(text)]
    except (ValueError, TypeError) as error:
        raise TriptychError(f'{path} is no file of prompts: write [{{"prompt": "..."}}, ...]') from error
    yield from ((f"prompt {number} of {path.name}", table) for number, table in enumerate(tables, start=1))


NUMBERS = {"seed": int, "steps": int, "width": int, "height": int, "guidance": float}


def _line(where: str, table: Mapping[str, Any], notes: list[str]) -> Line:
    given: dict[str, Any] = {}
    for name, value in table.items():
        known = NAMES.get(name.lower().replace("-", "_"))
        if known is None:
            notes.append(f"{where}: the option --{name} is not used")
        elif known in NUMBERS:
            given[known] = _number(where, name, value, NUMBERS[known])
        else:
            given[known] = str(value).strip()
    if not given.get("prompt"):
        notes.append(f"{where} has options and no prompt")
    return Line(**{"prompt": "", **given}, where=where)


def _number(where: str, name: str, value: Any, kind: type[int] | type[float]) -> int | float:
    try:
        return kind(str(value))
    except ValueError:
        what = "a whole number" if kind is int else "a number"
        raise TriptychError(f"{where}: --{name} takes {what}, not {value!r}") from None
