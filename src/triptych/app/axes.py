"""What a grid of pictures varies: `seed=0,1,2`, `cfg=2-8 [3]`, `prompt=cat,dog`, `use=a.safetensors:0.5,none`."""

from __future__ import annotations

import csv
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, get_type_hints

from ..base import Place
from ..data.prompts import Line
from ..errors import TriptychError, did_you_mean, shown
from ..files.library import SUFFIXES
from ..options import NOTHING
from ..sampling.controls import Controls

MOST_VALUES = 1000  # of a range
LINE: Mapping[str, tuple[str, Callable[[str], Any]]] = {
    "seed": ("seed", int), "steps": ("steps", int), "cfg": ("guidance", float), "sampler": ("sampler", str),
    "negative": ("negative", str),
}  # fmt: skip  # as users call them -> field of a line of prompts, and what reads a value
CONTROLS = {each.name.replace("_", "-"): get_type_hints(Controls)[each.name] for each in fields(Controls)}
NAMES = ("prompt", "use", "base", "vae", *LINE, *CONTROLS)
RANGE = re.compile(r"(-?[\d.]+)\s*-\s*(-?[\d.]+)\s*(?:\(\s*([+-]?[\d.]+)\s*\)|\[\s*(\d+)\s*\])?")


@dataclass(frozen=True)
class Cell:
    """What a cell of a grid is made with. `labels` say what of it varies, in the order of the axes."""

    place: Place
    line: Line
    uses: tuple[str, ...] = ()
    controls: Controls = field(default_factory=Controls)
    labels: tuple[str, ...] = ()


@dataclass(frozen=True)
class Axis:
    """A parameter with the values that it takes."""

    name: str
    values: tuple[str, ...]

    @classmethod
    def of(cls, text: str) -> Axis:
        """An axis from `NAME=VALUE,VALUE`. A value with a comma is put in double quotes.

        A number may be a range, as in A1111: `1-5`, `1-9 (+2)`, or `1-9 [5]` for so many values in equal distances.
        A folder, for `use`, stands for the files in it, such as the moments of a training.

        Raises:
            TriptychError: there is no such parameter, or a value does not fit it.
        """
        name, equals, given = text.partition("=")
        name = name.strip().replace("_", "-")
        if not equals or not given.strip():
            raise TriptychError(f"what varies is written as NAME=VALUE,VALUE, such as seed=0,1,2, not {shown(text)!r}")
        if name not in NAMES:
            raise TriptychError(f"a grid cannot vary {name!r}{did_you_mean(name, NAMES)}")
        kind = _kind(name)
        found: list[str] = []
        for value in next(csv.reader([given], skipinitialspace=True)):
            found += _spread(name, kind, value.strip())
        for value in found:
            _value(name, kind, value)
        if len(set(found)) < len(found):
            raise TriptychError(f"{name} has a value twice: {shown(text)!r}")
        return cls(name, tuple(found))

    def label(self, value: str) -> str:
        """What is written beside the cells of a value."""
        if self.name == "prompt":
            return value
        if self.name in ("use", "base", "vae"):
            return Path(value).name.replace(".safetensors", "") or NOTHING
        return f"{self.name} {value or NOTHING}"

    def applied(self, cell: Cell, value: str) -> Cell:
        """The cell with a value of this axis.

        Raises:
            TriptychError: the value is out of range, or the words to replace are not in the prompt.
        """
        cell = replace(cell, labels=(*cell.labels, self.label(value)))
        line = cell.line
        if self.name == "prompt":
            found, negative = self.values[0], line.negative or ""
            if found not in line.prompt and found not in negative:
                raise TriptychError(f"prompts vary by replacing {found!r}, which is not in {shown(line.prompt)!r}")
            changed = replace(line, prompt=line.prompt.replace(found, value), negative=negative.replace(found, value))
            return replace(cell, line=changed)
        if self.name == "use":
            return replace(cell, uses=(*cell.uses, *([value] if value != NOTHING else ())))
        if self.name == "base":
            return replace(cell, place=replace(cell.place, source=value))
        if self.name == "vae":
            return replace(cell, place=replace(cell.place, vae="" if value == NOTHING else value))
        typed = _value(self.name, _kind(self.name), value)
        if self.name in LINE:
            return replace(cell, line=replace(line, **{LINE[self.name][0]: typed}))
        return replace(cell, controls=replace(cell.controls, **{self.name.replace("-", "_"): typed}))


def axes_of(texts: Sequence[str]) -> list[Axis]:
    """One to three axes: columns, rows, and sheets below each other.

    Raises:
        TriptychError: they are none, or too many, or one of them cannot be read.
    """
    axes = [Axis.of(text) for text in texts]
    if not 1 <= len(axes) <= 3:
        raise TriptychError(f"a grid varies one, two or three parameters, not {len(axes)}")
    names = [axis.name for axis in axes if axis.name != "use"]  # of which several may be attached
    for name in names:
        if names.count(name) > 1:
            raise TriptychError(f"{name} varies twice: put its values into one list")
    return axes


def _kind(name: str) -> Callable[[str], Any]:
    return LINE[name][1] if name in LINE else CONTROLS.get(name, str)


def _value(name: str, kind: Callable[[str], Any], text: str) -> Any:
    try:
        return {"true": True, "false": False}[text.lower()] if kind is bool else kind(text)
    except (ValueError, KeyError):
        what = "true or false" if kind is bool else "a whole number" if kind is int else "a number"
        raise TriptychError(f"{name} is {what}, not {shown(text)!r}") from None


def _spread(name: str, kind: Callable[[str], Any], text: str) -> list[str]:
    """The values that a text stands for: those of a range, the files in a folder, or itself."""
    if name == "use" and Path(text).is_dir():
        files = [path for path in Path(text).iterdir() if path.suffix in SUFFIXES]
        if not files:
            raise TriptychError(f"{text} holds no files to attach")
        return [str(path) for path in sorted(files, key=_natural)]
    match = RANGE.fullmatch(text) if kind in (int, float) else None
    if not match:
        return [text]
    try:
        first, last = float(match[1]), float(match[2])
        if match[4]:
            count = int(match[4])
            step = (last - first) / (count - 1) if count > 1 else 0.0
        else:
            step = float(match[3] or 1)
            count = int((last - first) / step + 1e-9) + 1
    except (ValueError, ZeroDivisionError):
        raise TriptychError(f"{name}: {shown(text)!r} is no range of numbers") from None
    if not 1 <= count <= MOST_VALUES:
        raise TriptychError(f"{name}: the range {shown(text)!r} has {count} values")
    values = [first + step * i for i in range(count)]
    return [str(round(value)) if kind is int else f"{value:.6g}" for value in values]


def _natural(path: Path) -> list[tuple[bool, int, str]]:
    """Sorts files by the numbers in their names."""
    pieces = re.findall(r"\d+|\D+", path.stem)
    return [(piece.isdecimal(), int(piece) if piece.isdecimal() else 0, piece) for piece in pieces]
