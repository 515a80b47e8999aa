"""The command `generate`."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path
from typing import Annotated

import typer

from ..errors import TriptychError
from ..options import SamplingOptions
from .options import AsJson, Form, Guidance, Mask, Sampler, Start, Steps, stated, with_options


@with_options(SamplingOptions)
def generate(
    *,
    context: typer.Context,
    prompt: Annotated[str | None, typer.Argument(help="what to sample")] = None,
    out: Annotated[Path, typer.Option(help="the folder for the pictures")] = Path("pictures"),
    again: Annotated[
        Path | None, typer.Option(metavar="PICTURE", help="make a picture again as it says: ours, A1111's, ComfyUI's")
    ] = None,
    form: Form = "png",
    prompts: Annotated[Path | None, typer.Option(help="a file with a prompt a line, and options as in kohya's")] = None,
    negative: Annotated[str | None, typer.Option(help="what to keep away from")] = None,
    use: Annotated[
        list[str] | None,
        typer.Option("--use", metavar="FILE[:STRENGTH]", help="attach a file; or for a while, :0.8@0.2-0.5"),
    ] = None,
    library: Annotated[
        Path | None, typer.Option(help="a folder of A1111, ComfyUI or your own, for <lora:name:0.8> and the like")
    ] = None,
    seed: Annotated[
        int | None, typer.Option(help="of the first picture; -1: one chosen at random [default: 0]", min=-1)
    ] = None,
    count: Annotated[int, typer.Option("-n", help="pictures a prompt; picture i has seed + i", min=1)] = 1,
    steps: Steps = None,
    cfg: Guidance = None,
    sampler: Sampler = None,
    start: Start = None,
    denoise: Annotated[
        list[float] | None,
        typer.Option(help="how much of it is sampled anew; may be repeated [default: 0.75]", min=0, max=1),
    ] = None,
    mask: Mask = None,
    region: Annotated[
        list[str] | None,
        typer.Option(metavar="L,T,R,B: PROMPT", help="a part with a prompt, in shares; or MASK: PROMPT"),
    ] = None,
    heat: Annotated[
        list[str] | None, typer.Option(metavar="WORD", help="write where in the picture a word of the prompt acts")
    ] = None,
    preview: Annotated[
        int, typer.Option(metavar="STEPS", help="write a small preview beside the pictures every so many steps", min=0)
    ] = 0,
    explain: Annotated[bool, typer.Option("--explain", help="show what each file adds: sheet, page, JSON")] = False,
    concept: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="with --explain: the pictures that the files were trained on")
    ] = None,
    image_encoder: Annotated[str, typer.Option(help="with --explain: what judges pictures")] = "",
    text_encoder: Annotated[str, typer.Option(help="with --explain: what judges prompts")] = "",
    options: SamplingOptions,
    as_json: AsJson = False,
) -> None:
    """Sample PROMPT, or every prompt of a file, with any number of trained files attached."""
    from ..app.again import again_request
    from ..app.asked import SampleRequest
    from ..app.explain import REPORT
    from ..app.judges import Judges
    from ..app.session import Session
    from ..base import Place
    from ..data.concept import Concept
    from ..data.prompts import Line, PromptFile, read_prompts
    from ..sampling.controls import Controls
    from .console import Console

    if sum(given is not None for given in (prompt, prompts, again)) != 1:
        raise TriptychError("give one of a prompt, --prompts FILE, and --again PICTURE")
    if not explain and (concept or image_encoder or text_encoder):
        raise TriptychError("--concept, --image-encoder and --text-encoder are for --explain")
    asked = read_prompts(prompts) if prompts else PromptFile((Line(prompt or ""),), _also_a_file(prompt or ""))
    if not asked.lines:
        raise TriptychError(f"{prompts} holds no prompts: write one a line")
    changes = {"steps": steps, "guidance": cfg, "sampler": sampler, "negative": negative}
    controls = Controls.of(options.controls, region or ())
    request = SampleRequest(asked.lines, seed, count, use or (), changes, controls, library, asked.notes, form,
        start=start, mask=mask, denoises=denoise or (), heat=heat or (), preview=preview,
    )  # fmt: skip
    with Console() as console:
        place = Place.of(options.place)
        if again:
            request, place = again_request(again, request, place, stated(context))
        if explain:
            judges = Judges(Concept.open(concept) if concept else None, image_encoder, text_encoder)
            explained = Session().explain(request, place, out, judges, console)
            written = [*(out / name for name in REPORT), *(shot.picture for shot in explained)]
        else:
            written = Session().sample(request, place, out, console)
    print(json.dumps([str(path) for path in written]) if as_json else "\n".join(map(str, written)))


def _also_a_file(prompt: str) -> tuple[str, ...]:
    with suppress(OSError):  # too long for a path
        if Path(prompt).is_file():
            return (f"{prompt!r} is sampled as a prompt; it is a file too, whose prompts --prompts reads",)
    return ()
