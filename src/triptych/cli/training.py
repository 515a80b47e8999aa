"""The commands `train` and `methods`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from .options import (
    AsJson,
    BaseName,
    ClassWord,
    ClipName,
    Device,
    Ema,
    KindName,
    Precision,
    Prediction,
    Resolution,
    Seed,
    Set,
    Token,
    VaeName,
    pairs_of,
    place_of,
)


def train(
    method: Annotated[str, typer.Argument(help="see `triptych methods`")],
    folder: Annotated[Path, typer.Argument(help="a folder of pictures, with captions or without")],
    out: Annotated[Path, typer.Option(help="the file to write, .safetensors")],
    base: BaseName = "demo",
    steps: Annotated[int | None, typer.Option(help="training steps [default: the base's own]", min=1)] = None,
    seed: Seed = 0,
    settings: Set = None,
    resume: Annotated[bool, typer.Option("--resume", help="go on where the same command was stopped")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="replace the file if it exists")] = False,
    kind: KindName = "",
    class_word: ClassWord = "",
    token: Token = "",
    device: Device = "auto",
    precision: Precision = "auto",
    resolution: Resolution = 0,
    clip: ClipName = None,
    vae: VaeName = "",
    ema: Ema = False,
    prediction: Prediction = "",
    thumbnail: Annotated[Path | None, typer.Option(help="a picture for the file's metadata")] = None,
    as_json: AsJson = False,
) -> None:
    """Train one method on all pictures of FOLDER and write one file."""
    from ..app.train import TrainRequest, train_file
    from ..data.concept import Concept
    from .console import Console

    given = dict(pairs_of(settings, "KEY=VALUE"))
    if steps is not None:
        given["steps"] = steps
    concept = Concept.open(folder, kind=kind or None, class_word=class_word or None, token=token or None)
    place = place_of(base, device, precision, resolution, clip, vae, ema, prediction)
    request = TrainRequest(method, concept, place, given, seed, thumbnail)
    with Console() as console:
        written = train_file(request, out, console, resume=resume, overwrite=overwrite)
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
            name: {"explanation": text, "settings": [vars(one) for one in settings]}
            for name, (text, settings) in known_methods.items()
        }))  # fmt: skip
        return
    for name, (text, settings) in known_methods.items():
        print(f"{name}\n  {text}")
        for one in settings:
            choices = f" ({', '.join(one.choices)})" if one.choices else ""
            print(f"    {one.name:<15} {one.default!s:<12} {one.explanation}{choices}")
        print()
