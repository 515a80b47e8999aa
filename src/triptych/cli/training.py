"""The commands `train` and `methods`."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..errors import TriptychError
from ..options import LearningOptions
from ..settings import Value
from .configured import Config, configured, is_typed, write_config
from .options import AsJson, Memory, Preset, Set, memory_in, pairs_of, with_options

if TYPE_CHECKING:
    from ..app.repeating import Before

STEPS = "steps"


@with_options(LearningOptions)
def train(
    *,
    context: typer.Context,
    method: Annotated[str | None, typer.Argument(help="see `triptych methods`; not with --again")] = None,
    folder: Annotated[
        list[Path] | None, typer.Argument(help="a folder of pictures; of several, one file learns each as a concept")
    ] = None,
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
    preset: Preset = "",
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
    """Train one method on all pictures of FOLDER and write one file, and NAME.toml that repeats it by --config.

    Several folders are several concepts in one file, each with words of its own: --class cat,dog --token sks,ohwx.
    """
    from ..app.session import Session
    from ..app.train import TrainRequest
    from ..app.watching import Watching
    from ..base import Place
    from ..data.concepts import of_classes, open_concepts
    from ..methods import method_named
    from .console import Console

    before, method, folders, out = _asked(again, method, folder or [], out)
    given = {**(before.settings if before else {}), **_given(context, steps, settings)}
    seed = before.seed if before and not is_typed(context, "seed") else options.seed
    words = _words(options, folders, before)
    concepts = open_concepts(
        folders, kind=words.get("kind"), class_words=_each(folders, words, "class_word"),
        tokens=_each(folders, words, "token"), only=options.only or None,
    )  # fmt: skip
    watching = Watching(sample_every, sample_prompt or (), (0,), keep_every, tensorboard)
    takes = method_named(method).takes_class_pictures
    own = of_classes(concepts, class_folder, words.get("kind")) if class_folder or takes else ()
    request = TrainRequest(
        method, concepts[0], Place.of(options.place), given, seed, thumbnail, watching, on or (), before, own,
        memory_in(memory, options.place.device), options.pictures, concepts[1:], preset,
    )  # fmt: skip
    with Console() as console:
        written = Session().train(request, out, console, resume=resume, overwrite=overwrite)
    beside = out.with_suffix(".toml")
    if not beside.exists() or (overwrite and beside != config):
        places = [place.resolve() for place in folders]
        known = {"method": method, "folder": places if len(places) > 1 else places[0], "seed": seed, **words}
        write_config(context, written.settings, beside, **known)
    elif beside != config:
        print(f"{beside} is there already, so it stays as it is", file=sys.stderr)
    if as_json:
        print(json.dumps({"file": str(out), **vars(written)}))
    else:
        print(f"{out}\nsay: {written.says}")


def _asked(
    again: Path | None, method: str | None, folders: Sequence[Path], out: Path | None
) -> tuple[Before | None, str, Sequence[Path], Path]:
    """The training that is repeated, if any, the method, the folders, and the file to write.

    Raises:
        TriptychError: one of them is missing, or the method is not that of the training that is repeated.
    """
    from ..app.repeating import Before
    from ..methods import methods as known

    before = Before.of(again) if again else None
    if before and (not folders or method not in known()):
        method, folders = before.method, [*([Path(method)] if method else []), *folders]
    for name, value in {"METHOD": method, "FOLDER": folders, "--out": out}.items():
        if not value:
            raise TriptychError(f"{name} is missing, as in `train lora cats --out cat.safetensors`")
    assert method is not None and out is not None
    if before and method != before.method:
        raise TriptychError(f"{again} is a {before.method}, not a {method}: leave the method away")
    return before, method, folders, out


def _words(options: LearningOptions, folders: Sequence[Path], before: Before | None) -> dict[str, str]:
    """The words of the concepts as they are typed; else those of the training before, one for each folder."""
    earlier = before.words if before and len(before.words) == len(folders) else ()
    found = {name: ",".join(words[name] for words in earlier) for name in ("class_word", "token") if earlier}
    found |= {"kind": before.words[0]["kind"]} if before else {}
    typed = {"kind": options.kind, "class_word": options.class_word, "token": options.token}
    return found | {name: text for name, text in typed.items() if text}


def _each(folders: Sequence[Path], words: Mapping[str, str], name: str) -> list[str]:
    """The words for the folders; of several folders they are parted by commas."""
    text = words.get(name, "")
    return [part.strip() for part in text.split(",")] if len(folders) > 1 and text else [text]


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


def presets(as_json: AsJson = False) -> None:
    """List the presets: what each family of bases sets for a graphics card of a size, by method."""
    from ..base.description import Description
    from ..families import FOLDER, family_named

    known = {path.stem: Description.of(None, path.stem).presets for path in sorted(FOLDER.glob("*.toml"))}
    if as_json:
        print(json.dumps(known))
        return
    for family, cards in known.items():
        print(family_named(family).title)
        for card, methods in cards.items():
            print(f"  {card:<6}a plan for so much memory{', and:' if methods else ''}")
            for method, settings in methods.items():
                said = ", ".join(f"{name} {str(value).lower()}" for name, value in settings.items())
                print(f"    {method:<20} {said}")
        print()
