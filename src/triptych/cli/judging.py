"""The command `judge`."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..errors import TriptychError
from ..options import StudyOptions
from .options import AsJson, Say, says_of, with_options

if TYPE_CHECKING:
    from ..study.judging import Judgement

ASKED = (
    "place", "kind", "class_word", "token", "only", "seed", "need", "prompts", "unrelated", "image_encoder",
    "text_encoder", "prompt_judge",
)  # fmt: skip


@with_options(StudyOptions, *ASKED)
def judge(
    *,
    files: Annotated[
        list[Path], typer.Argument(metavar="FILE...", help="trained files by any program, checkpoints, bases' folders")
    ],
    folder: Annotated[Path, typer.Option(help="the pictures of what the files learned")],
    strengths: Annotated[
        str, typer.Option(help="0.6,0.8,1: a row for each [default: what a file's notes prefer, else 1]")
    ] = "",
    say: Say = None,
    out: Annotated[Path | None, typer.Option(help="where it goes [default: triptych-out/FOLDER-judged]")] = None,
    options: StudyOptions,
    as_json: AsJson = False,
) -> None:
    """Judge trained files on the yardstick of a quick study: which to keep, at which strength. Trains nothing."""
    from ..app.session import Session
    from ..study.judging import JudgeRequest
    from .console import Console

    request = JudgeRequest(tuple(files), folder, options, strengths_of(strengths), says_of(say))
    place = out or Path("triptych-out") / f"{folder.resolve().name}-judged"
    with Console() as console:
        judgement = Session().judge(request, place, console)
    if as_json:
        verdict = json.loads(judgement.verdict.to_json())
        print(json.dumps({**asdict(judgement.record), "verdict": verdict}))
        return
    _print(judgement)
    print(f"\nreport: {place / 'report.html'}")


def _print(judgement: Judgement) -> None:
    from ..verdict.words import figure

    for judged in judgement.record.files:
        row = judgement.verdict.methods[judged.row]
        named = (("both", "both"), ("fidelity", "likeness"), ("prompt_fidelity", "prompt"))
        measured = ", ".join(f"{words} {figure(row[name].value)}" for name, words in named if name in row)
        print(f"{judged.decision:<10} {judged.file} at {judged.strength:g}: {measured}\n           {judged.reason}")


def strengths_of(text: str) -> tuple[float, ...]:
    """Read `0.6,0.8,1`.

    Raises:
        TriptychError: one of them is no number above 0.
    """
    found = []
    for part in filter(None, (part.strip() for part in text.split(","))):
        try:
            found.append(float(part))
        except ValueError:
            found.append(0.0)
        if not 0 < found[-1] < float("inf"):
            raise TriptychError(f"a strength is a number above 0, such as 0.8, not {part!r}")
    return tuple(dict.fromkeys(found))
