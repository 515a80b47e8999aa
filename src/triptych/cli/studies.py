"""The commands `try`, `tune` and `report`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from ..options import StudyOptions
from .options import AsJson, with_options


@with_options(StudyOptions)
def try_(
    *,
    folder: Annotated[Path, typer.Argument(help="a folder of pictures, with captions or without")],
    out: Annotated[Path | None, typer.Option(help="where the study goes [default: triptych-out/FOLDER]")] = None,
    options: StudyOptions,
    as_json: AsJson = False,
) -> None:
    """Train every method on FOLDER, measure all of them, and recommend one."""
    from ..app.session import Session
    from ..study import Plan, deciding_command
    from ..verdict.summary import summary
    from .console import Console

    plan = Plan.of(folder, options)
    place = out or Path("triptych-out") / folder.resolve().name
    with Console() as console:
        verdict = Session().study(plan, place, console)
    if as_json:
        print(verdict.to_json(), end="")
        return
    for line in summary(verdict):
        print(line)
    if command := deciding_command(plan, verdict, place):
        print(f"\nwhat would decide what is open:\n  {command}")
    print(f"\nreport: {place / 'report.html'}\nfiles:  {place / 'artifacts'}")


@with_options(StudyOptions, "place", "methods", "budget", "seed", "settings", "image_encoder")
def tune(
    *,
    folders: Annotated[list[Path], typer.Argument(metavar="FOLDER...", help="folders that no study reports on")],
    out: Annotated[Path, typer.Option(help="the folder for tuned.toml, the journal and the pictures")],
    trials: Annotated[int, typer.Option(help="trainings of each method, most of them given up early", min=1)] = 12,
    options: StudyOptions,
    as_json: AsJson = False,
) -> None:
    """Search each method's learning rate and steps with the same effort, for `triptych try --tuned`."""
    from ..app.session import Session
    from ..study import Plan
    from ..study.tuning import FILE
    from .console import Console

    plans = [Plan.of(folder, options) for folder in folders]
    with Console() as console:
        tuned = Session().tune(plans, trials, out, console)
    if as_json:
        print(json.dumps({"file": str(out / FILE), "settings": tuned.settings, "trials": tuned.trials}))
        return
    for name, settings_found in tuned.settings.items():
        print(f"{name}: {', '.join(f'{key} {value}' for key, value in settings_found.items())}")
    print(f"\n{out / FILE}")


def report(
    study: Annotated[Path, typer.Argument(metavar="DIR", help="the --out folder of `triptych try`")],
    votes: Annotated[
        list[Path] | None,
        typer.Option("--votes", metavar="FILE", help="votes that a person saved from the page; may be repeated"),
    ] = None,
) -> None:
    """Write the report of a study again, from the files in its folder."""
    from ..report import build_with_votes

    written = build_with_votes(study, votes or ())
    print(written.path)
    for line in written.eye.lines() if written.eye else ():
        print(line)
