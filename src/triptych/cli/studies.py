"""The commands `try`, `tune` and `report`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from .options import (
    AsJson,
    BaseName,
    ClassWord,
    ClipName,
    Device,
    Ema,
    KindName,
    MethodSet,
    Precision,
    Prediction,
    Resolution,
    Seed,
    Token,
    VaeName,
    pairs_of,
    place_of,
)

if TYPE_CHECKING:
    from ..settings import Value


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
    prompts: Annotated[
        int | None, typer.Option(help="prompts that name the concept, a picture each [default: the budget's]", min=1)
    ] = None,
    unrelated: Annotated[
        int | None, typer.Option(help="prompts that do not name it, a picture each [default: the budget's]", min=2)
    ] = None,
    together: Annotated[
        str,
        typer.Option(
            help="combinations as rows: word+lora,dreambooth+lora,all,leave-one-out; or none [default: the base's own]"
        ),
    ] = "",
    points: Annotated[
        bool, typer.Option("--points/--no-points", help="choose each method's strength and moment of training")
    ] = True,
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
    """Train every method on FOLDER, measure all of them, and recommend one."""
    from ..study import Plan, run
    from ..verdict.reinforce import question as asked_of
    from .console import Console

    base_place = place_of(base, device, precision, resolution, clip, vae, ema, prediction)
    plan = Plan(
        folder, base_place, kind, class_word, token, _names(methods), budget, cast(Any, need), seed, image_encoder,
        text_encoder, _by_method(settings), replicates or 0, _together(together), str(tuned.resolve()) if tuned else "",
        prompts or 0, unrelated or 0, other_base, points,
    )  # fmt: skip
    place = out or Path("triptych-out") / folder.resolve().name
    with Console() as console:
        verdict = run(plan, place, console)
    if as_json:
        print(verdict.to_json(), end="")
        return
    for question, answer in verdict.answers.items():
        print(f"{question.replace('_', ' ')}? {answer.answer}\n  {answer.evidence}")
    for name, answer in verdict.together.items():
        print(f"{asked_of(name)} {answer.answer}\n  {answer.evidence}")
    choice = verdict.recommendation.choice
    print(f"\nfor {plan.need}: {choice.method or 'nothing to recommend'}")
    for reason in (*choice.reasons, *choice.caveats):
        print(f"  {reason}")
    print(f"\nreport: {place / 'report.html'}\nfiles:  {place / 'artifacts'}")


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
    """Search each method's learning rate and steps with the same effort, for `triptych try --tuned`."""
    from ..study import Plan
    from ..study.tuning import FILE, tune
    from .console import Console

    place, chosen = place_of(base, device, precision, resolution, clip, vae, ema, prediction), _names(methods)
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


def report(study: Annotated[Path, typer.Argument(metavar="DIR", help="the --out folder of `triptych try`")]) -> None:
    """Write the report of a study again, from the files in its folder."""
    from ..report import build

    print(build(study))


def _names(text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(",") if name.strip())


def _by_method(settings: list[str] | None) -> dict[str, dict[str, Value]]:
    given: dict[str, dict[str, Value]] = {}
    for name, value in pairs_of(settings, "METHOD.KEY=VALUE"):
        method, _, setting = name.partition(".")
        given.setdefault(method, {})[setting] = value
    return given


def _together(text: str) -> tuple[str, ...] | None:
    from ..study.combinations import combinations_of

    return None if not text else () if text == "none" else combinations_of(text)
