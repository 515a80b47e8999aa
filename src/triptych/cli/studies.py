"""The commands `try`, `tune` and `report`."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..options import StudyOptions
from .options import AsJson, with_options

if TYPE_CHECKING:
    from ..study import Plan
    from ..study.many import Many
    from ..verdict import Verdict


@with_options(StudyOptions)
def try_(
    *,
    folders: Annotated[
        list[Path], typer.Argument(metavar="FOLDER...", help="pictures of a concept each, or folders of such folders")
    ],
    out: Annotated[Path | None, typer.Option(help="where the study goes [default: triptych-out/FOLDER]")] = None,
    options: StudyOptions,
    as_json: AsJson = False,
) -> None:
    """Train every method on FOLDER, measure all of them, and recommend one; of several concepts, join the results."""
    from ..app.session import Session
    from ..study import Plan
    from ..study.many import plans_of
    from .console import Console

    with Console() as console:
        plans = plans_of(folders, options, console.note)
        place = out or Path("triptych-out") / (folders[0].resolve().name if len(folders) == 1 else "concepts")
        first = next(iter(plans.values()))
        if len(plans) == 1 and isinstance(first, Plan):
            verdict = Session().study(first, place, console)
        else:
            many = Session().study_many(plans, place, console)
    if len(plans) > 1 or isinstance(first, str):
        _print_many(many, as_json)
    else:
        _print_study(first, verdict, place, as_json)


def _print_study(plan: Plan, verdict: Verdict, place: Path, as_json: bool) -> None:
    from ..study import deciding_command
    from ..verdict.summary import summary

    if as_json:
        print(verdict.to_json(), end="")
        return
    for line in summary(verdict):
        print(line)
    if command := deciding_command(plan, verdict, place):
        print(f"\nwhat would decide what is open:\n  {command}")
    print(f"\nreport: {place / 'report.html'}\nfiles:  {place / 'artifacts'}")


def _print_many(many: Many, as_json: bool) -> None:
    from ..verdict.summary import lead, summary

    if as_json:
        told = {name: json.loads(verdict.to_json()) for name, verdict in many.verdicts.items()}
        over = json.loads(many.over.to_json()) if many.over else None
        print(json.dumps({"over": over, "concepts": told, "failures": dict(many.failures)}))
        return
    widest = max(map(len, (*many.verdicts, *many.failures)))
    for name, verdict in many.verdicts.items():
        print(f"{name:<{widest}}  {lead(verdict.recommendation.choice, verdict.margins.both)}")
    for name, reason in many.failures.items():
        print(f"{name:<{widest}}  no verdict: {reason}")
    print()
    lines = summary(many.over) if many.over else ["nothing over all: fewer than two concepts have a headline figure"]
    for line in lines:
        print(line)
    print(f"\nreport: {many.page}")


@with_options(StudyOptions, "place", "only", "methods", "budget", "seed", "settings", "image_encoder")
def tune(
    *,
    folders: Annotated[list[Path], typer.Argument(metavar="FOLDER...", help="folders that no study reports on")],
    out: Annotated[Path, typer.Option(help="the folder for tuned.toml, the journal and the pictures")],
    trials: Annotated[int, typer.Option(help="trainings of each method whose pictures are judged", min=1)] = 12,
    options: StudyOptions,
    as_json: AsJson = False,
) -> None:
    """Search each method's learning rate and steps with the same effort, for `triptych try --tuned`."""
    from ..app.session import Session
    from ..data.concept import layouts_in
    from ..study import Plan
    from ..study.tuning import FILE
    from .console import Console

    plans = [
        Plan.of(folder, replace(options, only=layout.words))
        for folder in folders
        for layout in layouts_in(folder, only=options.only)
    ]
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
    from ..records import ConceptsRecord
    from ..report import build_with_votes
    from ..report.concepts import build_concepts

    if (study / ConceptsRecord.NAME).is_file() and not votes:
        print(build_concepts(study))
        return
    written = build_with_votes(study, votes or ())
    print(written.path)
    for line in written.tally.lines() if written.tally else ():
        print(line)
