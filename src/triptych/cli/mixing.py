"""The commands `merge` and `dilution`."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..errors import Remedy, TriptychError, printable
from ..options import StudyOptions
from .options import AsJson, Say, Set, pairs_of, refuse_unused, says_of, with_options

if TYPE_CHECKING:
    from ..dilution.plan import DilutionPlan
    from ..mixing.opening import Opened
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
    rank: Annotated[int | None, typer.Option(help="of a LoRA [default: 0, all that is needed]", min=0)] = None,
    settings: Set = None,
    vae: Annotated[str, typer.Option("--vae", help="a file with the autoencoder for a checkpoint")] = "",
    precision: Annotated[
        str, typer.Option(help="fp32, bf16, fp16 of a checkpoint [default: auto, as the first file]")
    ] = "",
    overwrite: Annotated[bool, typer.Option("--overwrite", help="replace what exists")] = False,
    foretell: Annotated[
        bool,
        typer.Option(
            "--foretell",
            help="write nothing: tell how the files overlap; with --measure, what the mix will keep of each",
        ),
    ] = False,
    measure: Annotated[
        list[Path] | None,
        typer.Option(metavar="FOLDER", help="the pictures of each file in turn: measure what is kept"),
    ] = None,
    search: Annotated[
        bool, typer.Option("--search", help="look for the mix that loses least; with --measure for each file")
    ] = False,
    trials: Annotated[int | None, typer.Option(help="mixes that --search tries [default: 24]", min=1)] = None,
    prompts: Annotated[
        int | None, typer.Option(help="prompts that --measure samples with each concept [default: 16]", min=2)
    ] = None,
    by_block: Annotated[bool, typer.Option("--by-block", help="search the second file's share of each block")] = False,
    say: Say = None,
    as_json: AsJson = False,
) -> None:
    """Mix checkpoints, LoRAs, differences, embeddings or hypernetworks into one file."""
    folders = measure or []
    refuse_unused({"--out": out, "--search": search} if foretell else {}, "--foretell writes nothing")
    refuse_unused({} if search else {"--trials": trials, "--by-block": by_block}, "nothing is searched")
    refuse_unused({} if folders and not foretell else {"--prompts": prompts}, "nothing is measured")
    refuse_unused({} if folders else {"--say": say}, "nothing is measured")
    if search and not folders:
        raise TriptychError("a search measures mixes: give --measure FOLDER once for each file")
    from ..mixing.opening import open_files

    mix = _mix(files, recipe, method, base, rank, dict(pairs_of(settings, "KEY=VALUE")), vae, precision)
    if foretell:
        _foretell(mix, folders, says_of(say), as_json)
        return
    if out is None:
        raise TriptychError("say where to write with --out FILE")
    if out.exists() and not overwrite:
        raise TriptychError(f"{out} exists already", Remedy.OTHER_PLACE, Remedy.OVERWRITE)
    if not any(file.path.is_dir() for file in mix.ingredients):
        opened = open_files(mix)  # refused before anything heavy is loaded
        if folders:
            _check_measurable(opened, search)
    from ..mixing.merge import merge as make

    plan = _plan(mix, folders, says_of(say), prompts or 16) if folders else None
    if plan and search:
        mix = _searched(mix, out, plan, trials or 24, by_block)
    mixed = make(mix, out, overwrite=overwrite)
    told = {"file": str(mixed.path), "kind": mixed.kind, "method": mixed.method, "notes": mixed.notes}
    print(json.dumps(told) if as_json else mixed.path)
    for note in () if as_json else mixed.notes:
        print(printable(note), file=sys.stderr)
    if plan:
        _measure(mix, mixed.path, plan, beside_average=search)


def _mix(
    files: list[str] | None, recipe: Path | None, method: str, base: str, rank: int | None, given: dict[str, Value],
    vae: str, precision: str,
) -> Mix:  # fmt: skip
    """The mix of a recipe with the options over it, or of the files and the options."""
    from dataclasses import replace

    from ..mixing.recipe import read_recipe
    from ..mixing.request import Ingredient, Mix
    from ..options import precision_named

    if recipe:
        if files:
            raise TriptychError("give files, or --recipe FILE, and not both")
        mix = read_recipe(recipe)
        mix = replace(
            mix, method=method or mix.method, base=base or mix.base, base_sha256="" if base else mix.base_sha256,
            rank=mix.rank if rank is None else rank, settings={**mix.settings, **given}, vae=vae or mix.vae,
            vae_sha256="" if vae else mix.vae_sha256,
            precision=precision_named(precision or mix.precision),
        )  # fmt: skip
    else:
        ingredients = tuple(map(Ingredient.parse, files or ()))
        mix = Mix(ingredients, method, base, rank or 0, given, vae, precision_named(precision or "auto"))
    return mix


def _foretell(mix: Mix, folders: list[Path], says: Mapping[str, str], as_json: bool) -> None:
    """Tell how the files overlap, or by their pictures what the mix will keep of each."""
    if folders:
        from ..app.session import Session
        from .console import Console

        with Console() as console:
            ahead = Session().foretell_mix(mix, _plan(mix, folders, says, 2), console)
        print(
            json.dumps([vars(each) for each in ahead]) if as_json else "\n".join(printable(str(each)) for each in ahead)
        )
        return
    from ..mixing.foretelling import overlaps_of

    found = overlaps_of(mix)
    if as_json:
        print(json.dumps([{"first": a, "second": b, **vars(overlap)} for (a, b), overlap in found.items()]))
        return
    for (a, b), overlap in found.items():
        print(printable(overlap.sentence(a, b)))


def _plan(mix: Mix, folders: list[Path], says: Mapping[str, str], prompts: int) -> DilutionPlan:
    """The files with their pictures, and no mix but the one that is made."""
    from ..base import Place
    from ..dilution.plan import DilutionPlan, Source, saying

    if len(folders) != len(mix.ingredients):
        raise TriptychError(f"give --measure once for each of the {len(mix.ingredients)} files, in their order")
    sources = tuple(Source(file.path, folder) for file, folder in zip(mix.ingredients, folders, strict=True))
    place = Place(mix.base) if mix.base else Place()
    return DilutionPlan(saying(sources, says), place, (), (), generations=0, prompts=prompts, unrelated=prompts)


def _check_measurable(opened: Opened, search: bool) -> None:
    """
    Raises:
        TriptychError: what a mix keeps of one of the files is not measured, or not searched.
    """
    from ..dilution.members import check_measurable

    if opened.kind == "baking":
        raise TriptychError("a mix is measured of files of one kind: bake LoRAs into checkpoints first, and mix these")
    for file, found in zip(opened.files, opened.found, strict=True):
        if search or found.kind != "checkpoint":
            check_measurable(file.path.name, found.kind)


def _searched(mix: Mix, path: Path, plan: DilutionPlan, trials: int, by_block: bool) -> Mix:
    """The mix that loses least, found in a folder beside the file."""
    from ..app.session import Session
    from .console import Console

    out = path.with_name(f"{path.stem}-searched")
    with Console() as console:
        found = Session().search_mix(mix, plan, trials, out, console, by_block=by_block)
    print(printable(str(found)), file=sys.stderr)
    return found.mix


def _measure(mix: Mix, path: Path, plan: DilutionPlan, *, beside_average: bool) -> None:
    """Measure one mix in a folder beside it, on request beside the plain average of its files."""
    from ..app.session import Session
    from ..dilution.plan import only, plain_average
    from .console import Console

    out = path.with_name(f"{path.stem}-measured")
    weights = [1.0 if file.weight is None else file.weight for file in mix.ingredients]
    arms = [only(weights, path), *([plain_average(len(weights))] if beside_average else [])]
    with Console() as console:
        result = Session().dilution(plan, out, console, single=arms)
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
        list[str] | None,
        typer.Option(
            metavar="FILE[,FILE...]|in-turn|alternating",
            help="measure this too: a file trained on all concepts, one file for each that are attached together,"
            " or the files switched along the steps",
        ),
    ] = None,
    say: Say = None,
    options: StudyOptions,
    as_json: AsJson = False,
) -> None:
    """Measure how much mixes keep of each of their files, by the pictures that they give."""
    from ..app.session import Session
    from ..base import Place
    from ..dilution.plan import SWITCHED, DilutionPlan, Source, saying
    from .console import Console

    plan = DilutionPlan(
        saying(list(map(Source.parse, files)), says_of(say)), Place.of(options.place), tuple(_whole(counts)),
        tuple(_numbers(ratios)), generations, prompts=prompts, unrelated=unrelated, seed=options.seed, minutes=minutes,
        image_encoder=options.image_encoder, text_encoder=options.text_encoder,
        beside=tuple(_together(given) for given in beside or () if given not in SWITCHED),
        switched=tuple(given for given in beside or () if given in SWITCHED),
    )  # fmt: skip
    with Console() as console:
        result = Session().dilution(plan, out, console)
    if as_json:
        print(result.to_json(), end="")
        return
    print("\n".join(map(printable, result.sentences)))
    print(f"\npage: {out / 'dilution.html'}")


def _together(text: str) -> tuple[Path, ...]:
    """A file, or several with commas between them."""
    return (Path(text),) if Path(text).is_file() else tuple(map(Path, text.split(",")))


def _whole(text: str) -> list[int]:
    numbers = _numbers(text)
    if not all(number.is_integer() for number in numbers):
        raise TriptychError(f"{text!r} must be whole numbers with commas between them")
    return [int(number) for number in numbers]


def _numbers(text: str) -> list[float]:
    try:
        return [float(part) for part in text.split(",") if part.strip()]
    except ValueError:
        raise TriptychError(f"{text!r} must be numbers with commas between them") from None
