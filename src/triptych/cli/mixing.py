"""The commands `merge` and `dilution`."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..errors import Remedy, TriptychError, printable
from ..options import StudyOptions
from .options import AsJson, Set, pairs_of, with_options

if TYPE_CHECKING:
    from ..dilution.plan import DilutionPlan
    from ..mixing.request import Mix
    from ..settings import Value

RATIOS = "0.1,0.2,0.3,0.4,0.5,0.6,0.7,0.8,0.9"


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
    foretell: Annotated[bool, typer.Option("--foretell", help="write nothing, and tell how the files overlap")] = False,
    measure: Annotated[
        list[Path] | None,
        typer.Option(metavar="FOLDER", help="the pictures of each file in turn: measure what is kept"),
    ] = None,
    search: Annotated[
        bool, typer.Option("--search", help="look for the mix that loses least; with --measure for each file")
    ] = False,
    trials: Annotated[int, typer.Option(help="mixes that --search tries", min=1)] = 24,
    by_block: Annotated[bool, typer.Option("--by-block", help="search the second file's share of each block")] = False,
    as_json: AsJson = False,
) -> None:
    """Mix checkpoints, LoRAs, differences, embeddings or hypernetworks into one file."""
    from ..mixing.merge import merge as make

    mix = _mix(files, recipe, method, base, rank, dict(pairs_of(settings, "KEY=VALUE")), vae, precision)
    if foretell:
        _foretell(mix, as_json)
        return
    if out is None:
        raise TriptychError("say where to write with --out FILE")
    folders = measure or []
    if folders and len(folders) != len(mix.ingredients):
        raise TriptychError(f"give --measure once for each of the {len(mix.ingredients)} files, in their order")
    if search:
        if out.exists() and not overwrite:
            raise TriptychError(f"{out} exists already", Remedy.OTHER_PLACE, Remedy.OVERWRITE)
        mix = _searched(mix, out, folders, trials, by_block)
    elif by_block:
        raise TriptychError("--by-block says what --search looks for: give both")
    mixed = make(mix, out, overwrite=overwrite)
    told = {"file": str(mixed.path), "kind": mixed.kind, "method": mixed.method, "notes": mixed.notes}
    print(json.dumps(told) if as_json else mixed.path)
    for note in () if as_json else mixed.notes:
        print(printable(note), file=sys.stderr)
    if folders:
        _measure(mix, mixed.path, folders)


def _mix(
    files: list[str] | None, recipe: Path | None, method: str, base: str, rank: int, given: dict[str, Value], vae: str,
    precision: str,
) -> Mix:  # fmt: skip
    """The mix of a recipe with the options over it, or of the files and the options."""
    from dataclasses import replace

    from ..base.device import precision_named
    from ..mixing.recipe import read_recipe
    from ..mixing.request import Ingredient, Mix

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
    return mix


def _foretell(mix: Mix, as_json: bool) -> None:
    from ..mixing.foretelling import overlaps

    found = overlaps(mix)
    if as_json:
        print(json.dumps([{"first": a, "second": b, **vars(overlap)} for (a, b), overlap in found.items()]))
        return
    for (a, b), overlap in found.items():
        print(printable(overlap.sentence(a, b)))


def _plan(mix: Mix, folders: list[Path]) -> DilutionPlan:
    from ..base import Place
    from ..dilution.plan import DilutionPlan, Source

    sources = tuple(Source(file.path, folder) for file, folder in zip(mix.ingredients, folders, strict=True))
    return DilutionPlan(sources, Place(mix.base or "demo"))


def _searched(mix: Mix, path: Path, folders: list[Path], trials: int, by_block: bool) -> Mix:
    """The mix that loses least, found in a folder beside the file."""
    from ..dilution.search import search
    from .console import Console

    if not folders:
        raise TriptychError("a search measures mixes: give --measure FOLDER once for each file")
    with Console() as console:
        found = search(mix, _plan(mix, folders), trials, by_block, path.with_name(f"{path.stem}-searched"), console)
    print(printable(str(found)), file=sys.stderr)
    return found.mix


def _measure(mix: Mix, path: Path, folders: list[Path]) -> None:
    """Measure one mix, in a folder beside it."""
    from ..dilution.plan import only
    from ..dilution.run import dilution as study
    from .console import Console

    plan, out = _plan(mix, folders), path.with_name(f"{path.stem}-measured")
    sources, weights = plan.sources, [1.0 if file.weight is None else file.weight for file in mix.ingredients]
    with Console() as console:
        result = study(plan, out, console, (only(sources, weights), path))
    print("\n".join(map(printable, result.sentences)))
    print(f"page: {out / 'dilution.html'}")


@with_options(StudyOptions, "place", "seed", "image_encoder", "text_encoder")
def dilution(
    *,
    files: Annotated[list[str], typer.Argument(metavar="FILE=FOLDER...", help="trained files and their pictures")],
    out: Annotated[Path, typer.Option(help="the folder for the page, the mixes and the pictures")],
    counts: Annotated[str, typer.Option(help="numbers of files in a mix")] = "2,3,4,6,8",
    ratios: Annotated[str, typer.Option(help="shares of the second file in a mix of the first two")] = RATIOS,
    generations: Annotated[int, typer.Option(help="mixes of a mix, one after the other", min=0)] = 3,
    prompts: Annotated[int, typer.Option(help="prompts with each concept, one picture each", min=2)] = 16,
    unrelated: Annotated[int, typer.Option(help="prompts without it, one picture each", min=2)] = 16,
    minutes: Annotated[float, typer.Option(help="stop sampling after so long; 0: when all is done", min=0)] = 0,
    beside: Annotated[
        list[Path] | None,
        typer.Option(metavar="FILE", help="measure this one too, such as one trained on all concepts; may be repeated"),
    ] = None,
    options: StudyOptions,
    as_json: AsJson = False,
) -> None:
    """Measure how much mixes keep of each of their files, by the pictures that they give."""
    from ..base import Place
    from ..dilution.plan import DilutionPlan, Source
    from ..dilution.run import dilution as study
    from .console import Console

    plan = DilutionPlan(
        tuple(map(Source.parse, files)), Place.of(options.place), tuple(map(int, _numbers(counts))),
        tuple(_numbers(ratios)), generations, prompts=prompts, unrelated=unrelated, seed=options.seed, minutes=minutes,
        image_encoder=options.image_encoder, text_encoder=options.text_encoder, beside=tuple(beside or ()),
    )  # fmt: skip
    with Console() as console:
        result = study(plan, out, console)
    if as_json:
        print(result.to_json(), end="")
        return
    print("\n".join(map(printable, result.sentences)))
    print(f"\npage: {out / 'dilution.html'}")


def _numbers(text: str) -> list[float]:
    try:
        return [float(part) for part in text.split(",") if part.strip()]
    except ValueError:
        raise TriptychError(f"{text!r} must be numbers with commas between them") from None
