"""The command `check`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ..errors import TriptychError, printable
from ..options import LearningOptions
from .options import AsJson, with_options


@with_options(LearningOptions, "place", "kind", "class_word", "token", "seed")
def check(
    *,
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
    from ..data.cleaning import clean
    from ..data.concept import Concept
    from ..report.folder import write_page
    from .console import Console

    if quick and worth:
        raise TriptychError("--quick opens no base, and --worth trains on one: give one of them")
    concept = Concept.open(
        folder, kind=options.kind or None, class_word=options.class_word or None, token=options.token or None
    )
    request = CheckRequest(
        concept, Place.of(options.place), image_encoder, text_encoder, quick, worth, halves, steps, options.seed
    )
    with Console() as console:
        checked = Session().check(request, console)
    worth_by_name = {measured.name: str(measured) for measured in checked.worth}
    page = (out or Path("triptych-out") / f"{folder.resolve().name}-check") / "check.html"
    write_page(concept, checked.findings, checked.held_out, checked.usable, checked.notes, page, worth_by_name)
    if as_json:
        print(checked.to_json())
    else:
        for line in (*checked.notes, *map(str, checked.findings)):
            print(printable(line))
        for name, said in worth_by_name.items():
            print(printable(f"worth of {name}: {said}"))
        print(f"{len(checked.usable)} of {len(concept.pictures)} pictures without a grave finding\npage: {page}")
    if not checked.is_usable:
        raise TriptychError(f"{folder} has too few usable pictures: {len(checked.usable)}; see {page}")
    if fix:
        done = clean(concept, checked.findings, fix)
        for name, what in () if as_json else done.items():
            print(printable(f"  {name}: {what}"))
        if not as_json:
            print(f"cleaned copy: {fix}")
