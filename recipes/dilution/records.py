"""What was measured, as files of the repository: a record of each part and training seed. The page is made of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from recipes.dilution.concepts import ROOT
from triptych.files.atomic import write_text

FOLDER = ROOT / "docs" / "dilution" / "records"
DIGITS = 4  # of a number
Told = dict[str, Any]


def write(folder: Path, part: str, seed: int, told: Told) -> Path:
    """Write the record of a part and a seed, one line for each of its entries."""
    path = folder / f"{part}-{seed}.json"
    lines = (f"{json.dumps(name)}:{json.dumps(_short(value), separators=(',', ':'))}" for name, value in told.items())
    folder.mkdir(parents=True, exist_ok=True)
    write_text(path, "{" + ",\n".join(lines) + "}\n")
    return path


def read(folder: Path, part: str) -> dict[int, Told]:
    """Training seed -> the record of a part."""
    paths = {int(path.stem.removeprefix(f"{part}-")): path for path in folder.glob(f"{part}-*.json")}
    return {seed: json.loads(paths[seed].read_text(encoding="utf-8")) for seed in sorted(paths)}


def _short(value: Any) -> Any:
    """The same with numbers rounded."""
    if isinstance(value, dict):
        return {name: _short(member) for name, member in value.items()}
    if isinstance(value, list):
        return [_short(member) for member in value]
    return round(value, DIGITS) if isinstance(value, float) else value
