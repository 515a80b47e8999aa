"""The command `generate`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from ..errors import TriptychError
from .options import AsJson, BaseName, ClipName, Device, Ema, Precision, Prediction, Resolution, VaeName, place_of


def generate(
    prompt: Annotated[str | None, typer.Argument(help="what to sample")] = None,
    out: Annotated[Path, typer.Option(help="the folder for the pictures")] = Path("pictures"),
    prompts: Annotated[Path | None, typer.Option(help="a file with a prompt a line, and options as in kohya's")] = None,
    base: BaseName = "demo",
    negative: Annotated[str, typer.Option(help="what to keep away from")] = "",
    use: Annotated[
        list[str] | None, typer.Option("--use", metavar="FILE[:STRENGTH]", help="attach a file; may be repeated")
    ] = None,
    library: Annotated[
        Path | None, typer.Option(help="a folder of A1111, ComfyUI or your own, for <lora:name:0.8> and the like")
    ] = None,
    seed: Annotated[int, typer.Option(help="of the first picture; -1: one chosen at random", min=-1)] = 0,
    count: Annotated[int, typer.Option("-n", help="pictures a prompt; picture i has seed + i", min=1)] = 1,
    steps: Annotated[int | None, typer.Option(help="steps of the sampler", min=1)] = None,
    cfg: Annotated[float | None, typer.Option(help="scale of classifier-free guidance", min=0)] = None,
    sampler: Annotated[str | None, typer.Option(help="ddim, dpm++, euler, euler-a, ...; A1111's names, too")] = None,
    emphasis: Annotated[
        str, typer.Option(help="how weights are written and applied: a1111, no-norm, comfy, compel, none")
    ] = "a1111",
    late_steps: Annotated[
        bool, typer.Option("--late-steps", help="texts of a schedule go on for a step more, as in A1111")
    ] = False,
    device: Device = "auto",
    precision: Precision = "auto",
    resolution: Resolution = 0,
    clip: ClipName = None,
    vae: VaeName = "",
    ema: Ema = False,
    prediction: Prediction = "",
    as_json: AsJson = False,
) -> None:
    """Sample PROMPT, or every prompt of a file, with any number of trained files attached."""
    from ..app.sample import SampleRequest, sample_files
    from ..data.prompts import Line, PromptFile, read_prompts
    from ..sampling.controls import Controls
    from .console import Console

    if (prompt is None) == (prompts is None):
        raise TriptychError("give a prompt, or --prompts FILE, and not both")
    asked = read_prompts(prompts) if prompts else PromptFile((Line(str(prompt)),))
    if not asked.lines:
        raise TriptychError(f"{prompts} holds no prompts: write one a line")
    changes = {"steps": steps, "guidance": cfg, "sampler": sampler, "negative": negative}
    controls = Controls(emphasis, late_steps)
    request = SampleRequest(asked.lines, seed, count, use or (), changes, controls, library, asked.notes)
    with Console() as console:
        place = place_of(base, device, precision, resolution, clip, vae, ema, prediction)
        written = sample_files(request, place, out, console)
    print(json.dumps([str(path) for path in written]) if as_json else "\n".join(map(str, written)))
