"""The recipe of a mix: `merge.toml`, which makes it again. The same text is in the metadata of what was made.

Files are named relative to the recipe's folder; inside a mix by their names alone, with their hashes, so that no path
of the user is told.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import tomli_w

from ..errors import TriptychError, did_you_mean
from ..exchange.inspection import MIX
from ..files.hashes import known_sha256
from ..files.safetensors_header import begins_safetensors
from ..files.tensorfile import TensorFile
from ..options import precision_named
from ..settings import describe
from ..shell import writable
from .request import Ingredient, Mix
from .settings import Settings

SCHEMA = 1
KEYS = ("schema", "method", "base", "base_sha256", "rank", "vae", "vae_sha256", "precision", "settings", "ingredient")


def with_hashes(mix: Mix) -> Mix:
    """The mix with the SHA-256 of every file.

    Raises:
        TriptychError: a file cannot be read, or is not the one that the recipe states.
    """

    def hashed(path: Path, stated: str) -> str:
        found = known_sha256(path).lower()
        if stated and stated.lower() != found:
            raise TriptychError(
                f"{path} is not the file that the recipe was made from: its SHA-256 is {found[:12]}..., and the recipe"
                f" says {stated.lower()[:12]}..."
            )
        return found

    with ThreadPoolExecutor(2) as pool:
        found = pool.map(
            hashed,
            [ingredient.path for ingredient in mix.ingredients],
            [ingredient.sha256 for ingredient in mix.ingredients],
        )
        ingredients = tuple(
            replace(ingredient, sha256=sha) for ingredient, sha in zip(mix.ingredients, found, strict=True)
        )
    base = hashed(Path(mix.base), mix.base_sha256) if Path(mix.base).is_file() else ""
    vae = hashed(Path(mix.vae), mix.vae_sha256) if mix.vae else ""
    return replace(mix, ingredients=ingredients, base_sha256=base, vae_sha256=vae)


def recipe_text(mix: Mix) -> str:
    """The recipe as TOML, with every file by its name alone."""
    usual = {setting.name: setting.default for setting in describe(Settings)}
    settings = {name: value for name, value in vars(mix.parsed).items() if value != usual[name]}
    table: dict[str, Any] = {
        "schema": SCHEMA, "method": mix.method, "base": _bare(mix.base), "base_sha256": mix.base_sha256,
        "rank": mix.rank, "vae": Path(mix.vae).name, "vae_sha256": mix.vae_sha256,
        "precision": "" if mix.precision == "auto" else mix.precision,
    }  # fmt: skip
    table = {name: value for name, value in table.items() if value}
    if settings:
        table["settings"] = settings
    table["ingredient"] = [_row(ingredient) for ingredient in mix.ingredients]
    return tomli_w.dumps(table)


def _bare(base: str) -> str:
    """A path by its last name; the name of a base, such as a hub id, as it is."""
    return Path(base).name if Path(base).exists() else base


def _row(ingredient: Ingredient) -> dict[str, Any]:
    weight = {} if ingredient.weight is None else {"weight": ingredient.weight}
    return {
        "file": writable(ingredient.path.name),
        **weight,
        **({"sha256": ingredient.sha256} if ingredient.sha256 else {}),
    }


def read_recipe(path: Path) -> Mix:
    """The mix of a recipe, or of a file that was made by one. Its files are looked for beside it.

    Raises:
        TriptychError: there is no recipe, or it cannot be read.
    """
    if not path.is_file():
        raise TriptychError(f"there is no recipe {path}")
    try:
        with path.open("rb") as file:
            first = file.read(512)
        if begins_safetensors(first):
            text = TensorFile.open(path).metadata.get(MIX, "")
            if not text:
                raise TriptychError(f"{path} was not made by a mix: it has no recipe inside")
        else:
            text = path.read_text(encoding="utf-8")
        table = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, OSError) as error:
        raise TriptychError(f"the recipe {path} cannot be read: {error}") from error
    return _mix(path, table)


def _mix(path: Path, table: Mapping[str, Any]) -> Mix:
    for name in table:
        if name not in KEYS:
            raise TriptychError(f"the recipe {path} has an entry {name!r}{did_you_mean(name, KEYS)}")
    if table.get("schema", SCHEMA) != SCHEMA:
        raise TriptychError(f"the recipe {path} was made by a newer triptych")
    rows = table.get("ingredient")
    if not isinstance(rows, list) or not all(isinstance(row, dict) and "file" in row for row in rows):
        raise TriptychError(f"the recipe {path} has no files: each stands under [[ingredient]], with file and weight")

    def place(name: str) -> str:
        beside = path.parent / name
        return str(beside) if name and beside.exists() else name

    try:
        ingredients = tuple(
            Ingredient(Path(place(row["file"])), None if "weight" not in row else float(row["weight"]),
                       str(row.get("sha256", "")))
            for row in rows
        )  # fmt: skip
        mix = Mix(
            ingredients, str(table.get("method", "")), place(str(table.get("base", ""))), int(table.get("rank", 0)),
            dict(table.get("settings", {})), place(str(table.get("vae", ""))),
            precision_named(str(table.get("precision", "auto"))), str(table.get("base_sha256", "")),
            str(table.get("vae_sha256", "")),
        )  # fmt: skip
    except (TypeError, ValueError) as error:
        raise TriptychError(f"the recipe {path} cannot be read: {error}") from error
    if missing := next((str(each.path) for each in ingredients if not each.path.exists()), None):
        raise TriptychError(f"the recipe {path} asks for {missing}, which is neither beside it nor here")
    return mix
