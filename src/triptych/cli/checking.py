"""The command `check`."""

from __future__ import annotations

import sys
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..errors import TriptychError, printable
from ..options import BaseOptions, LearningOptions
from .configured import is_typed
from .options import AsJson, with_options

if TYPE_CHECKING:
    from ..app.check import Checked

# the parameters that only a check with a base uses, and those that only --worth does
FOR_BASE = (
    *(each.name for each in fields(BaseOptions) if each.name != "resolution"), "image_encoder", "text_encoder"
)  # fmt: skip
FOR_WORTH = ("halves", "steps", "seed")


@with_options(LearningOptions, "place", "kind", "class_word", "token", "seed")
def check(
    *,
    context: typer.Context,
    folder: Annotated[Path, typer.Argument(help="a folder of pictures, with captions or without")],
    out: Annotated[Path | None, typer.Option(help="where the page goes [default: triptych-out/FOLDER-check]")] = None,
    fix: Annotated[Path | None, typer.Option(help="write a cleaned copy of FOLDER there")] = None,
    quick: Annotated[bool, typer.Option("--quick", help="open no base and no encoder")] = False,
    image_encoder: Annotated[str, typer.Option(help="what judges pictures: a folder or hub id of a DINOv2")] = "",
    text_encoder: Annotated[str, typer.Option(help="what judges captions: a folder or hub id of a CLIP")] = "",
    worth: Annotated[
        bool, typer.Option("--worth", help="what each picture is worth, from many short trainings on random halves")
    ] = False,
    halves: Annotated[int, typer.Option(help="trainings for --worth [default: four a picture]", min=0)] = 0,
    steps: Annotated[int, typer.Option(help="of each of them [default: a quarter of the base's]", min=0)] = 0,
    options: LearningOptions,
    as_json: AsJson = False,
) -> None:
    """Find what spoils FOLDER before a training. Nothing in FOLDER is changed.

    Exit code 0 if enough pictures are usable, also with findings; 2 if not.
    """
    from ..app.check import CheckRequest
    from ..app.session import Session
    from ..base import Place
    from ..data.cleaning import check_copy, clean
    from ..data.concept import Concept
    from ..report.folder import check_page, write_page
    from .console import Console

    if quick and worth:
        raise TriptychError("--quick opens no base, and --worth trains on one: give one of them")
    for line in _unused(context, quick, worth):
        print(line, file=sys.stderr)
    concept = Concept.open(
        folder, kind=options.kind or None, class_word=options.class_word or None, token=options.token or None
    )
    page = (out or Path("triptych-out") / f"{folder.resolve().name}-check") / "check.html"
    check_page(page, folder)
    if fix:
        check_copy(fix)
    request = CheckRequest(
        concept, Place.of(options.place), image_encoder, text_encoder, quick, worth, halves, steps, options.seed
    )
    with Console() as console:
        checked = Session().check(request, console)
    worth_by_name = {measured.name: str(measured) for measured in checked.worth}
    write_page(concept, folder, checked.findings, checked.held_out, checked.usable, checked.notes, page, worth_by_name)
    print(*([checked.to_json()] if as_json else _lines(checked, page)), sep="\n")
    if not checked.is_usable:
        raise TriptychError(f"{folder} has too few usable pictures: {len(checked.usable)}; see {page}")
    if fix:
        done = clean(concept, checked.findings, fix)
        if not as_json:
            print(*(printable(f"  {name}: {what}") for name, what in done.items()), f"cleaned copy: {fix}", sep="\n")


def _unused(context: typer.Context, quick: bool, worth: bool) -> list[str]:
    """A line for each reason why options that were given are not used."""
    options = {parameter.name: max(parameter.opts, key=len) for parameter in context.command.params}
    found = []
    for applies, names, why in ((quick, FOR_BASE, "--quick opens no base"), (not worth, FOR_WORTH, "without --worth")):
        given = [options[name] for name in names if applies and is_typed(context, name)]
        found += [f"not used: {', '.join(given)} ({why})"] if given else []
    return found


def _lines(checked: Checked, page: Path) -> list[str]:
    """What the command prints of a check."""
    return [
        *map(printable, (*checked.notes, *map(str, checked.findings))),
        *(printable(f"worth of {measured.name}: {measured}") for measured in checked.worth),
        f"{len(checked.usable)} of {len(checked.concept.pictures)} pictures without a grave finding",
        f"page: {page}",
    ]
