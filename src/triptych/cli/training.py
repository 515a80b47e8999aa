"""The commands `train` and `methods`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from ..options import LearningOptions
from .options import AsJson, Set, pairs_of, with_options


@with_options(LearningOptions)
def train(
    *,
    method: Annotated[str, typer.Argument(help="see `triptych methods`")],
    folder: Annotated[Path, typer.Argument(help="a folder of pictures, with captions or without")],
    out: Annotated[Path, typer.Option(help="the file to write, .safetensors")],
    steps: Annotated[int | None, typer.Option(help="training steps [default: the base's own]", min=1)] = None,
    settings: Set = None,
    resume: Annotated[bool, typer.Option("--resume", help="go on where the same command was stopped")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="replace the file if it exists")] = False,
    options: LearningOptions,
    thumbnail: Annotated[Path | None, typer.Option(help="a picture for the file's metadata")] = None,
    as_json: AsJson = False,
) -> None:
    """Train one method on all pictures of FOLDER and write one file."""
    from ..app.session import Session
    from ..app.train import TrainRequest
    from ..base import Place
    from ..data.concept import Concept
    from .console import Console

    given = dict(pairs_of(settings, "KEY=VALUE"))
    if steps is not None:
        given["steps"] = steps
    concept = Concept.open(
        folder, kind=options.kind or None, class_word=options.class_word or None, token=options.token or None
    )
    request = TrainRequest(method, concept, Place.of(options.place), given, options.seed, thumbnail)
    with Console() as console:
        written = Session().train(request, out, console, resume=resume, overwrite=overwrite)
    if as_json:
        print(json.dumps({"file": str(out), **vars(written)}))
    else:
        print(f"{out}\nsay: {written.says}")


def methods(as_json: AsJson = False) -> None:
    """List the methods with their settings."""
    from ..methods import methods as known
    from ..settings import describe

    known_methods = {
        name: (method.explanation, describe(method.settings_class)) for name, method in sorted(known().items())
    }
    if as_json:
        print(json.dumps({
            name: {"explanation": text, "settings": [vars(setting) for setting in settings]}
            for name, (text, settings) in known_methods.items()
        }))  # fmt: skip
        return
    for name, (text, settings) in known_methods.items():
        print(f"{name}\n  {text}")
        for setting in settings:
            choices = f" ({', '.join(setting.choices)})" if setting.choices else ""
            print(f"    {setting.name:<15} {setting.default!s:<12} {setting.explanation}{choices}")
        print()
