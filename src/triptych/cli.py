"""The command line: it parses and shows, and computes nothing. Heavy modules are imported inside the commands."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from . import __version__
from .cli_files import convert, inspect
from .errors import TriptychError

if TYPE_CHECKING:
    from .base import Place
    from .settings import Value

app = typer.Typer(
    add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False, rich_markup_mode=None,
    help="One folder of pictures in; every kind of Stable Diffusion personalisation out, measured on one yardstick.",
)  # fmt: skip

QUIET = {"HF_HUB_DISABLE_PROGRESS_BARS": "1", "TRANSFORMERS_VERBOSITY": "error", "DIFFUSERS_VERBOSITY": "error"}

BaseName = Annotated[str, typer.Option("--base", help="'demo', a diffusers folder, a checkpoint file, or a hub id")]
Device = Annotated[str, typer.Option(help="cpu, cuda, cuda:1, mps; auto: the best there is")]
Precision = Annotated[str, typer.Option(help="fp32, bf16, fp16; auto: bf16 where the device has it, else fp32")]
Resolution = Annotated[int, typer.Option(help="pixels, a multiple of 32; 0: the base's own")]
VaeName = Annotated[str, typer.Option("--vae", help="a file with another autoencoder for the base")]
Ema = Annotated[bool, typer.Option("--ema", help="take the averaged weights that a checkpoint file may hold")]
Prediction = Annotated[str, typer.Option(help="epsilon or v, where the base does not say [default: what it says]")]
ClipName = Annotated[str | None, typer.Option("--clip", help="the CLIP of the base, for aesthetic gradients")]
KindName = Annotated[str, typer.Option("--kind", help="subject, style or scene")]
ClassWord = Annotated[str, typer.Option("--class", help="a word for what the concept is one of, such as cat")]
Token = Annotated[str, typer.Option("--token", help="the new word for the concept [default: <concept>]")]
Seed = Annotated[int, typer.Option(help="everything random follows from it", min=0)]
AsJson = Annotated[bool, typer.Option("--json", help="print the result as JSON")]
Set = Annotated[list[str] | None, typer.Option("-s", "--set", metavar="KEY=VALUE", help="a setting; may be repeated")]

MethodSet = Annotated[
    list[str] | None, typer.Option("-s", "--set", metavar="METHOD.KEY=VALUE", help="a setting; may be repeated")
]


@app.callback(invoke_without_command=True)
def root(version: Annotated[bool, typer.Option("--version", help="print the version")] = False) -> None:
    if version:
        print(__version__)
        raise typer.Exit


@app.command("try")
def try_(
    folder: Annotated[Path, typer.Argument(help="a folder of pictures, with captions or without")],
    base: BaseName = "demo",
    kind: KindName = "",
    class_word: ClassWord = "",
    token: Token = "",
    methods: Annotated[str, typer.Option(help="a,b,c [default: all]")] = "",
    budget: Annotated[str, typer.Option(help="quick, standard or thorough")] = "standard",
    need: Annotated[str, typer.Option(help="fidelity, editability, small, portable or fast")] = "fidelity",
    seed: Seed = 0,
    replicates: Annotated[
        int | None, typer.Option(help="trainings of each method [default: the budget's own number]", min=1)
    ] = None,
    together: Annotated[
        str, typer.Option(help="combinations as rows: word+lora,dreambooth+lora,all; or none [default: the base's own]")
    ] = "",
    tuned: Annotated[Path | None, typer.Option(help="settings from a tuned.toml of `triptych tune`")] = None,
    out: Annotated[Path | None, typer.Option(help="where the study goes [default: triptych-out/FOLDER]")] = None,
    settings: MethodSet = None,
    image_encoder: Annotated[str, typer.Option(help="what judges pictures: a folder or hub id of a DINOv2")] = "",
    text_encoder: Annotated[str, typer.Option(help="what judges prompts: a folder or hub id of a CLIP")] = "",
    other_base: Annotated[str, typer.Option(help="another base of the family, to see what carries over to it")] = "",
    device: Device = "auto",
    precision: Precision = "auto",
    resolution: Resolution = 0,
    clip: ClipName = None,
    vae: VaeName = "",
    ema: Ema = False,
    prediction: Prediction = "",
    as_json: AsJson = False,
) -> None:
    """Teach the base the concept in FOLDER in every way, measure all of them, and say which one is needed."""
    from .console import Console
    from .study import Plan, run

    base_place = _place(base, device, precision, resolution, clip, vae, ema, prediction)
    plan = Plan(
        folder, base_place, kind, class_word, token, _names(methods), budget, cast(Any, need), seed, image_encoder,
        text_encoder, _by_method(settings), replicates or 0, _together(together), str(tuned.resolve()) if tuned else "",
        other_base,
    )  # fmt: skip
    place = out or Path("triptych-out") / folder.resolve().name
    with Console() as console:
        verdict = run(plan, place, console)
    if as_json:
        print(verdict.to_json(), end="")
        return
    for question, answer in verdict.answers.items():
        print(f"{question.replace('_', ' ')}? {answer.answer}\n  {answer.evidence}")
    choice = verdict.recommendation.choice
    print(f"\nfor {plan.need}: {choice.method or 'nothing to recommend'}")
    for reason in (*choice.reasons, *choice.caveats):
        print(f"  {reason}")
    print(f"\nreport: {place / 'report.html'}\nfiles:  {place / 'artifacts'}")


@app.command()
def tune(
    folders: Annotated[list[Path], typer.Argument(metavar="FOLDER...", help="folders that no study reports on")],
    out: Annotated[Path, typer.Option(help="the folder for tuned.toml, the journal and the pictures")],
    base: BaseName = "demo",
    methods: Annotated[str, typer.Option(help="a,b,c [default: all]")] = "",
    trials: Annotated[int, typer.Option(help="trainings of each method, most of them given up early", min=1)] = 12,
    budget: Annotated[str, typer.Option(help="quick, standard or thorough: the usual length")] = "standard",
    seed: Seed = 0,
    settings: MethodSet = None,
    image_encoder: Annotated[str, typer.Option(help="what judges pictures: a folder or hub id of a DINOv2")] = "",
    device: Device = "auto",
    precision: Precision = "auto",
    resolution: Resolution = 0,
    clip: ClipName = None,
    vae: VaeName = "",
    ema: Ema = False,
    prediction: Prediction = "",
    as_json: AsJson = False,
) -> None:
    """Seek each method's learning rate and steps with the same effort, for `triptych try --tuned`."""
    from .console import Console
    from .study import Plan
    from .study.tuning import FILE, tune

    place, chosen = _place(base, device, precision, resolution, clip, vae, ema, prediction), _names(methods)
    plans = [
        Plan(folder, place, methods=chosen, budget=budget, seed=seed, image_encoder=image_encoder,
             settings=_by_method(settings))
        for folder in folders
    ]  # fmt: skip
    with Console() as console:
        tuned = tune(plans, trials, out, console)
    if as_json:
        print(json.dumps({"file": str(out / FILE), "settings": tuned.settings, "trials": tuned.trials}))
        return
    for name, settings_found in tuned.settings.items():
        print(f"{name}: {', '.join(f'{key} {value}' for key, value in settings_found.items())}")
    print(f"\n{out / FILE}")


@app.command()
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
    from .concept import Concept
    from .console import Console
    from .study.single import Lesson, teach

    given = dict(_pairs(settings, "KEY=VALUE"))
    if steps is not None:
        given["steps"] = steps
    concept = Concept.open(folder, kind=kind or None, class_word=class_word or None, token=token or None)
    place = _place(base, device, precision, resolution, clip, vae, ema, prediction)
    lesson = Lesson(method, concept, place, given, seed, thumbnail)
    with Console() as console:
        written = teach(lesson, out, console, resume=resume, overwrite=overwrite)
    if as_json:
        print(json.dumps({"file": str(out), **vars(written)}))
    else:
        print(f"{out}\nsay: {written.says}")


@app.command()
def generate(
    prompt: Annotated[str | None, typer.Argument(help="what to draw")] = None,
    out: Annotated[Path, typer.Option(help="the folder for the pictures")] = Path("pictures"),
    prompts: Annotated[Path | None, typer.Option(help="a file with a prompt a line")] = None,
    base: BaseName = "demo",
    negative: Annotated[str, typer.Option(help="what to keep away from")] = "",
    use: Annotated[
        list[str] | None, typer.Option("--use", metavar="FILE[:STRENGTH]", help="attach a file; may be repeated")
    ] = None,
    library: Annotated[
        Path | None, typer.Option(help="a folder of A1111, ComfyUI or your own, for <lora:name:0.8> and the like")
    ] = None,
    seed: Seed = 0,
    count: Annotated[int, typer.Option("-n", help="pictures a prompt; picture i has seed + i", min=1)] = 1,
    steps: Annotated[int | None, typer.Option(help="steps of the sampler", min=1)] = None,
    cfg: Annotated[float | None, typer.Option(help="scale of classifier-free guidance", min=0)] = None,
    sampler: Annotated[str | None, typer.Option(help="ddim, dpm++, euler, euler-a, ...")] = None,
    device: Device = "auto",
    precision: Precision = "auto",
    resolution: Resolution = 0,
    clip: ClipName = None,
    vae: VaeName = "",
    ema: Ema = False,
    prediction: Prediction = "",
    as_json: AsJson = False,
) -> None:
    """Draw PROMPT, or every prompt of a file, with any number of trained files attached."""
    from .console import Console
    from .study.single import Wish, paint, read_prompts

    if (prompt is None) == (prompts is None):
        raise TriptychError("give a prompt, or --prompts FILE, and not both")
    asked = [prompt] if prompt is not None else read_prompts(cast(Path, prompts))
    changes = {"steps": steps, "guidance": cfg, "sampler": sampler, "negative": negative}
    wish = Wish(asked, tuple(range(seed, seed + count)), tuple(use or ()), changes, library)
    with Console() as console:
        written = paint(wish, _place(base, device, precision, resolution, clip, vae, ema, prediction), out, console)
    print(json.dumps([str(path) for path in written]) if as_json else "\n".join(map(str, written)))


@app.command()
def report(study: Annotated[Path, typer.Argument(metavar="DIR", help="the --out folder of `triptych try`")]) -> None:
    """Write the report of a study again, from what lies in its folder."""
    from .report import build

    print(build(study))


@app.command()
def methods(as_json: AsJson = False) -> None:
    """Each method: what it is, and its settings."""
    from .patch import methods as known
    from .settings import describe

    told = {name: (method.explanation, describe(method.settings_class)) for name, method in sorted(known().items())}
    if as_json:
        print(json.dumps({
            name: {"explanation": text, "settings": [vars(one) for one in settings]}
            for name, (text, settings) in told.items()
        }))  # fmt: skip
        return
    for name, (text, settings) in told.items():
        print(f"{name}\n  {text}")
        for one in settings:
            choices = f" ({', '.join(one.choices)})" if one.choices else ""
            print(f"    {one.name:<15} {one.default!s:<12} {one.explanation}{choices}")
        print()


app.command()(inspect)
app.command()(convert)


def _names(text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(",") if name.strip())


def _by_method(settings: list[str] | None) -> dict[str, dict[str, Value]]:
    given: dict[str, dict[str, Value]] = {}
    for name, value in _pairs(settings, "METHOD.KEY=VALUE"):
        method, _, setting = name.partition(".")
        given.setdefault(method, {})[setting] = value
    return given


def _together(text: str) -> tuple[str, ...] | None:
    from .study.together import combinations_of

    return None if not text else () if text == "none" else combinations_of(text)


def _place(
    base: str, device: str, precision: str, resolution: int, clip: str | None, vae: str, ema: bool, prediction: str
) -> Place:
    from .base import Place

    return Place(base, device, cast(Any, precision), resolution, clip, vae, ema, prediction)


def _pairs(given: list[str] | None, form: str) -> list[tuple[str, Value]]:
    pairs = []
    for text in given or ():
        name, equals, value = text.partition("=")
        if not equals or ("." in form and "." not in name):
            raise TriptychError(f"-s {text!r} is not of the form {form}")
        pairs.append((name.strip(), value.strip()))
    return cast("list[tuple[str, Value]]", pairs)


def main() -> None:
    """Exit codes: 0; 2 for bad input, with one sentence on stderr; 130 for Ctrl-C."""
    os.environ |= QUIET
    try:
        code = app(standalone_mode=False)
    except TriptychError as error:
        code = _told(str(error))
    except (KeyboardInterrupt, typer.Abort):
        print("stopped; the same command goes on from here (`train`: with --resume)", file=sys.stderr)
        code = 130
    except BrokenPipeError:  # the reader of our output has gone, as in `triptych methods | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 0
    except Exception as error:
        if not hasattr(error, "format_message"):  # which is how typer says that the words were wrong
            raise
        code = _told(error.format_message())
    sys.exit(code if isinstance(code, int) else 0)


def _told(sentence: str) -> int:
    print(f"triptych: {sentence}", file=sys.stderr)
    return 2
