"""The command `merge`."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from ..errors import TriptychError, printable
from .options import AsJson, Set, pairs_of


def merge(
    files: Annotated[list[str] | None, typer.Argument(metavar="FILE[:WEIGHT]...", help="the files to mix")] = None,
    out: Annotated[Path | None, typer.Option(help="the file to write")] = None,
    recipe: Annotated[
        Path | None, typer.Option(help="make the mix of a merge.toml, or of a file that was made by one")
    ] = None,
    method: Annotated[
        str, typer.Option(help="weighted-sum, add-difference, slerp, ties, dare, della, ...: see docs/mixing.md")
    ] = "",
    base: Annotated[str, typer.Option("--base", help="the base that differences are taken from")] = "",
    rank: Annotated[int, typer.Option(help="of a LoRA that is written; 0: all that is needed", min=0)] = 0,
    settings: Set = None,
    vae: Annotated[str, typer.Option("--vae", help="a file with the autoencoder for a checkpoint")] = "",
    precision: Annotated[str, typer.Option(help="fp32, bf16, fp16 of a checkpoint; auto: as the first file")] = "auto",
    overwrite: Annotated[bool, typer.Option("--overwrite", help="replace what exists")] = False,
    as_json: AsJson = False,
) -> None:
    """Mix checkpoints, LoRAs, differences, embeddings or hypernetworks into one file."""
    from dataclasses import replace

    from ..base.device import precision_named
    from ..mixing.merge import merge as make
    from ..mixing.recipe import read_recipe
    from ..mixing.request import Ingredient, Mix

    if out is None:
        raise TriptychError("say where to write with --out FILE")
    given = dict(pairs_of(settings, "KEY=VALUE"))
    if recipe:
        if files:
            raise TriptychError("give files, or --recipe FILE, and not both")
        mix = read_recipe(recipe)
        mix = replace(
            mix, method=method or mix.method, base=base or mix.base, base_sha256="" if base else mix.base_sha256,
            rank=rank or mix.rank, settings={**mix.settings, **given}, vae=vae or mix.vae,
            vae_sha256="" if vae else mix.vae_sha256,
            precision=precision_named(mix.precision if precision == "auto" else precision),
        )  # fmt: skip
    else:
        ingredients = tuple(map(Ingredient.parse, files or ()))
        mix = Mix(ingredients, method, base, rank, given, vae, precision_named(precision))
    mixed = make(mix, out, overwrite=overwrite)
    if as_json:
        print(json.dumps({"file": str(mixed.path), "kind": mixed.kind, "method": mixed.method, "notes": mixed.notes}))
        return
    print(mixed.path)
    for note in mixed.notes:
        print(printable(note), file=sys.stderr)
