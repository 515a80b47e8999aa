"""The commands `train` and `methods`."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..errors import TriptychError
from ..options import LearningOptions
from ..settings import Value
from .configured import Config, configured, is_typed, write_config
from .options import AsJson, Memory, Set, memory_in, pairs_of, with_options

if TYPE_CHECKING:
    from ..app.repeating import Before

STEPS = "steps"


@with_options(LearningOptions)
def train(
    *,
    context: typer.Context,
    method: Annotated[str | None, typer.Argument(help="see `triptych methods`; not with --again")] = None,
    folder: Annotated[Path | None, typer.Argument(help="a folder of pictures, with captions or without")] = None,
    out: Annotated[Path | None, typer.Option(help="the file to write, .safetensors")] = None,
    config: Config = None,
    again: Annotated[Path | None, typer.Option(help="a trained file, whose training is repeated on FOLDER")] = None,
    steps: Annotated[int | None, typer.Option(help="training steps [default: the base's own]", min=1)] = None,
    settings: Set = None,
    resume: Annotated[bool, typer.Option("--resume", help="go on where the same command was stopped")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="replace the file if it exists")] = False,
    options: LearningOptions,
    thumbnail: Annotated[Path | None, typer.Option(help="a picture for the file's metadata")] = None,
    memory: Memory = "",
    class_folder: Annotated[
        Path | None, typer.Option(help="your own pictures of the class, for DreamBooth [default: the base's own]")
    ] = None,
    on: Annotated[
        list[str] | None,
        typer.Option(metavar="FILE[:STRENGTH]", help="train with this file attached; may be repeated"),
    ] = None,
    sample_every: Annotated[int, typer.Option(help="sample every so many steps, from step 0 on; 0: never", min=0)] = 0,
    sample_prompt: Annotated[
        list[str] | None, typer.Option(help="what to sample, {} for the concept; may be repeated")
    ] = None,
    keep_every: Annotated[int, typer.Option(help="write NAME-000100.safetensors every so many steps", min=0)] = 0,
    tensorboard: Annotated[Path | None, typer.Option(help="a folder for TensorBoard's events")] = None,
    as_json: AsJson = False,
) -> None:
    """Train one method on all pictures of FOLDER and write one file, and NAME.toml that repeats it by --config."""
    from ..app.session import Session
    from ..app.train import TrainRequest
    from ..app.watching import Watching
    from ..base import Place
    from ..data.concept import Concept
    from ..methods import method_named
    from .console import Console

    before, method, folder, out = _asked(again, method, folder, out)
    given = {**(before.settings if before else {}), **_given(context, steps, settings)}
    seed = before.seed if before and not is_typed(context, "seed") else options.seed
    words = dict(before.words) if before else {}
    typed = {"kind": options.kind, "class_word": options.class_word, "token": options.token}
    words |= {name: value for name, value in typed.items() if value}
    concept = Concept.open(folder, **words)
    watching = Watching(sample_every, sample_prompt or (), (0,), keep_every, tensorboard)
    takes = method_named(method).takes_class_pictures
    class_folder = class_folder or (concept.class_folder if takes else None)
    own = Concept.open(class_folder, **{**words, "class_word": concept.class_word}) if class_folder else None
    request = TrainRequest(
        method, concept, Place.of(options.place), given, seed, thumbnail, watching, on or (), before, own,
        memory_in(memory), options.pictures,
    )  # fmt: skip
    with Console() as console:
        written = Session().train(request, out, console, resume=resume, overwrite=overwrite)
    beside = out.with_suffix(".toml")
    if not beside.exists() or (overwrite and beside != config):
        known = {"method": method, "folder": folder.resolve(), "seed": seed, **words}
        write_config(context, written.settings, beside, **known)
    elif beside != config:
        print(f"{beside} is there already, so it stays as it is", file=sys.stderr)
    if as_json:
        print(json.dumps({"file": str(out), **vars(written)}))
    else:
        print(f"{out}\nsay: {written.says}")


def _asked(
    again: Path | None, method: str | None, folder: Path | None, out: Path | None
) -> tuple[Before | None, str, Path, Path]:
    """The training that is repeated, if any, the method, the folder, and the file to write.

    Raises:
        TriptychError: one of them is missing, or the method is not that of the training that is repeated.
    """
    from ..app.repeating import Before

    before = Before.of(again) if again else None
    if before and folder is None:
        method, folder = before.method, Path(method) if method else None
    for name, value in {"METHOD": method, "FOLDER": folder, "--out": out}.items():
        if value is None:
            raise TriptychError(f"{name} is missing, as in `train lora cats --out cat.safetensors`")
    assert method is not None and folder is not None and out is not None
    if before and method != before.method:
        raise TriptychError(f"{again} is a {before.method}, not a {method}: leave the method away")
    return before, method, folder, out


def _given(context: typer.Context, steps: int | None, texts: list[str] | None) -> dict[str, Value]:
    """The settings of the file and of the command line, which go first.

    Raises:
        TriptychError: the command line has the steps twice.
    """
    typed = dict(pairs_of(texts, "KEY=VALUE"))
    if steps is None:
        return {**configured(context), **typed}
    source = context.get_parameter_source("steps")
    if STEPS in typed and source is not None and source.name == "COMMANDLINE":
        raise TriptychError(f"--steps {steps} and -s steps={typed[STEPS]} are one setting: give one of them")
    return {**configured(context), STEPS: steps, **typed}


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
