"""The command `check`."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..errors import TriptychError, printable
from ..options import BaseOptions, LearningOptions
from ..units import listed
from .configured import is_typed
from .options import AsJson, with_options

if TYPE_CHECKING:
    from ..app.check import Checked
    from ..data.concept import Concept

# the parameters that only a check with a base uses, and those that only --worth does
FOR_BASE = (
    *(each.name for each in fields(BaseOptions) if each.name != "resolution"), "image_encoder", "text_encoder"
)  # fmt: skip
FOR_WORTH = ("halves", "steps", "seed")


@with_options(LearningOptions, "place", "kind", "class_word", "token", "only", "seed")
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
    from ..data.concepts import open_concepts
    from ..report.folder import check_page
    from .console import Console

    if quick and worth:
        raise TriptychError("--quick opens no base, and --worth trains on one: give one of them")
    for line in _unused(context, quick, worth):
        print(line, file=sys.stderr)
    concepts = open_concepts(
        [folder], kind=options.kind or None, class_words=[options.class_word], tokens=[options.token],
        only=options.only or None,
    )  # fmt: skip
    place = out or Path("triptych-out") / f"{folder.resolve().name}-check"
    pages = [path / "check.html" for path in _for_each(place, concepts)]
    copies = _for_each(fix, concepts) if fix else []
    for page in pages:
        check_page(page, folder)
    for copy in copies:
        check_copy(copy)
    asked = (Place.of(options.place), image_encoder, text_encoder, quick, worth, halves, steps, options.seed)
    session = Session()
    with Console() as console:
        found = [session.check(CheckRequest(concept, *asked), console) for concept in concepts]
    _write_pages(found, pages, folder)
    print(_as_json(found) if as_json else "\n".join(_lines(found, pages)))
    for checked, page in zip(found, pages, strict=True):
        if not checked.is_usable:
            name, count = checked.concept.name, len(checked.usable)
            raise TriptychError(f"{name} has too few usable pictures: {count}; see {page}")
    for checked, copy in zip(found, copies, strict=bool(copies)):
        done = clean(checked.concept, checked.findings, copy)
        if not as_json:
            print(*(printable(f"  {name}: {what}") for name, what in done.items()), f"cleaned copy: {copy}", sep="\n")


def _for_each(place: Path, concepts: Sequence[Concept]) -> list[Path]:
    """Where each of the concepts goes: of one the place itself, of several a folder in it."""
    return [place / concept.name if len(concepts) > 1 else place for concept in concepts]


def _write_pages(found: Sequence[Checked], pages: Sequence[Path], folder: Path) -> None:
    from ..report.folder import write_page

    for checked, page in zip(found, pages, strict=True):
        worths = {measured.name: str(measured) for measured in checked.worth}
        groups = {group.name: str(group) for group in checked.worth_of_groups}
        write_page(
            checked.concept, folder, checked.findings, checked.held_out, checked.usable, checked.notes, page, worths,
            groups, checked.unfit_to_judge,
        )  # fmt: skip


def _as_json(found: Sequence[Checked]) -> str:
    each = [checked.to_json() for checked in found]
    return each[0] if len(each) == 1 else f'{{"concepts": [{", ".join(each)}]}}'


def _unused(context: typer.Context, quick: bool, worth: bool) -> list[str]:
    """A line for each reason why options that were given are not used."""
    options = {parameter.name: max(parameter.opts, key=len) for parameter in context.command.params}
    found = []
    for applies, names, why in ((quick, FOR_BASE, "--quick opens no base"), (not worth, FOR_WORTH, "without --worth")):
        given = [options[name] for name in names if applies and is_typed(context, name)]
        found += [f"not used: {', '.join(given)} ({why})"] if given else []
    return found


def _lines(found: Sequence[Checked], pages: Sequence[Path]) -> Iterator[str]:
    """What the command prints of the checks."""
    for checked, page in zip(found, pages, strict=True):
        if len(found) > 1:
            yield printable(f"{checked.concept.name}:")
        yield from map(printable, (*checked.notes, *map(str, checked.findings)))
        yield from (printable(f"worth of {measured.name}: {measured}") for measured in checked.worth)
        yield from (f"mean worth of pictures {group.name!r}: {group}" for group in checked.worth_of_groups)
        held_out, count = checked.held_out, len(checked.concept.pictures)
        yield printable(f"a study would train on {count - len(held_out)} and judge by {listed(held_out, 8)}")
        if unfit := checked.unfit_to_judge:
            yield printable(
                f"of these, {listed(unfit, 8)} would judge wrongly: see what was found, or take a cleaned copy"
            )
        yield f"{len(checked.usable)} of {len(checked.concept.pictures)} pictures without a grave finding"
        yield f"page: {page}"
