"""The command `sweep`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from ..errors import TriptychError
from ..options import StudyOptions
from .options import AsJson, Memory, Preset, memory_in, pairs_of, refuse_unused, with_options

WORDS = ("kind", "class_word", "token", "only")
JUDGING = ("prompts", "unrelated", "image_encoder", "text_encoder", "prompt_judge")


@with_options(StudyOptions, "place", *WORDS, *JUDGING)
def sweep(
    *,
    folders: Annotated[list[Path] | None, typer.Argument(help="folders of pictures")] = None,
    method: Annotated[list[str] | None, typer.Option(help="a,b,c: see `triptych methods`; may be repeated")] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "-s", "--set", metavar="KEY=A,B,C", help="alternatives of a setting, or METHOD.KEY=...; may be repeated"
        ),
    ] = None,
    jobs: Annotated[Path | None, typer.Option(help="a TOML list of jobs, in place of folders and methods")] = None,
    seed: Annotated[str, typer.Option(help="one, or several: 0,1,2")] = "0",
    out: Annotated[Path, typer.Option(help="the folder for files, pictures and the page")] = Path("triptych-sweep"),
    rows: Annotated[int, typer.Option(help="most pictures in a joint step; 0: the base's own number", min=0)] = 0,
    memory: Memory = "",
    preset: Preset = "",
    hold_out: Annotated[
        bool, typer.Option("--hold-out", help="keep pictures back, and take the fixed-batch loss on them")
    ] = False,
    judge: Annotated[
        bool,
        typer.Option("--judge", help="judge all files by their pictures, as `triptych judge`; keeps pictures back"),
    ] = False,
    prompt: Annotated[
        list[str] | None, typer.Option(help="what to sample with each job, {} for the concept; may be repeated")
    ] = None,
    options: StudyOptions,
    as_json: AsJson = False,
) -> None:
    """Train a grid of jobs on FOLDERS: every method with every combination of settings. The same command goes on."""
    from ..app.grid import grid, read_jobs
    from ..app.session import Session
    from ..app.sweep import SweepRequest
    from ..base import Place
    from ..verdict.values import finite
    from .board import Board

    if jobs is not None and (folders or method or settings):
        raise TriptychError("give --jobs FILE, or FOLDERS with --method and -s, and not both")
    if jobs is None and not (folders and method):
        raise TriptychError("give FOLDERS and --method, as in `sweep cats --method lora -s rank=4,8`, or --jobs FILE")
    wanted = (
        read_jobs(jobs)
        if jobs
        else grid(folders or (), _names(method or ()), pairs_of(settings, "KEY=A,B,C"), _seeds(seed))
    )
    asked = {f"--{name.replace('_', '-')}": getattr(options, name) for name in JUDGING}
    refuse_unused({} if judge else asked, "nothing is judged without --judge")
    words = {name: getattr(options, name) or None for name in WORDS}
    request = SweepRequest(
        wanted, Place.of(options.place), words, rows or None, memory_in(memory, options.place.device), hold_out,
        prompt or (), preset=preset, judge=options if judge else None,
    )  # fmt: skip
    with Board() as board:
        result = Session().sweep(request, out, board)
    if as_json:
        files = list(map(str, result.files))
        worth = {name: finite(asdict(judged)) | {"page": str(judged.page)} for name, judged in result.judged.items()}
        print(json.dumps({"page": str(result.page), "files": files, "failures": result.failures, "judged": worth}))
    else:
        for name, why in result.failures.items():
            print(f"{name} failed: {why}")
        for name, judged in result.judged.items():
            if judged.decision == "best":
                print(f"best: {name}. {judged.reason}")
        print(f"{len(result.files)} of {len(result.files) + len(result.failures)} trained\n{result.page}")
    if not result.files:
        raise typer.Exit(2)


def _names(texts: Sequence[str]) -> list[str]:
    return list(dict.fromkeys(name.strip() for text in texts for name in text.split(",")))


def _seeds(text: str) -> list[int]:
    try:
        seeds = [int(part) for part in text.split(",")]
    except ValueError:
        seeds = [-1]
    if min(seeds) < 0:
        raise TriptychError(f"--seed takes whole numbers from 0 on, as in 0,1,2, not {text!r}")
    return list(dict.fromkeys(seeds))
