"""The command `generate`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from ..errors import TriptychError, did_you_mean
from ..options import BaseOptions
from .options import AsJson, with_options


@with_options(BaseOptions)
def generate(
    *,
    prompt: Annotated[str | None, typer.Argument(help="what to sample")] = None,
    out: Annotated[Path, typer.Option(help="the folder for the pictures")] = Path("pictures"),
    again: Annotated[
        Path | None, typer.Option(metavar="PICTURE", help="make a picture again as it says: ours, A1111's, ComfyUI's")
    ] = None,
    form: Annotated[str, typer.Option("--format", help="png, jpeg or webp")] = "png",
    prompts: Annotated[Path | None, typer.Option(help="a file with a prompt a line, and options as in kohya's")] = None,
    negative: Annotated[str, typer.Option(help="what to keep away from")] = "",
    use: Annotated[
        list[str] | None,
        typer.Option("--use", metavar="FILE[:STRENGTH]", help="attach a file; or for a while, :0.8@0.2-0.5"),
    ] = None,
    library: Annotated[
        Path | None, typer.Option(help="a folder of A1111, ComfyUI or your own, for <lora:name:0.8> and the like")
    ] = None,
    seed: Annotated[int, typer.Option(help="of the first picture; -1: one chosen at random", min=-1)] = 0,
    count: Annotated[int, typer.Option("-n", help="pictures a prompt; picture i has seed + i", min=1)] = 1,
    steps: Annotated[int | None, typer.Option(help="steps of the sampler", min=1)] = None,
    cfg: Annotated[float | None, typer.Option(help="scale of classifier-free guidance", min=0)] = None,
    sampler: Annotated[
        str | None, typer.Option(help="ddim, euler-a, 'DPM++ 2M Karras', ..., by any usual name")
    ] = None,
    emphasis: Annotated[
        str, typer.Option(help="how weights are written and applied: a1111, no-norm, comfy, compel, none")
    ] = "a1111",
    late_steps: Annotated[
        bool, typer.Option("--late-steps", help="texts of a schedule go on for a step more, as in A1111")
    ] = False,
    width: Annotated[int, typer.Option(help="pixels; 0: the base's resolution", min=0)] = 0,
    height: Annotated[int, typer.Option(help="pixels; 0: the base's resolution", min=0)] = 0,
    original_size: Annotated[str, typer.Option(metavar="WxH", help="that SDXL is told")] = "",
    crop: Annotated[str, typer.Option(metavar="X,Y", help="that SDXL is told")] = "",
    variation_seed: Annotated[int, typer.Option(help="of the noise that is mixed in", min=0)] = 0,
    variation_strength: Annotated[float, typer.Option(help="how much of it, 0 to 1", min=0, max=1)] = 0.0,
    seed_resize: Annotated[str, typer.Option(metavar="WxH", help="the size at which noise is drawn")] = "",
    clip_skip: Annotated[int, typer.Option(help="the text encoder's layer from the last, as in A1111", min=1)] = 1,
    cfg_rescale: Annotated[float, typer.Option(help="keep the contrast of the prompt, 0 to 1", min=0, max=1)] = 0.0,
    freeu: Annotated[str, typer.Option(metavar="B1,B2,S1,S2", help="FreeU's scales")] = "",
    pag: Annotated[float, typer.Option(help="scale of perturbed-attention guidance", min=0, max=100)] = 0.0,
    start: Annotated[
        Path | None, typer.Option("--from", metavar="PICTURE", help="begin with a picture instead of noise")
    ] = None,
    denoise: Annotated[
        list[float] | None, typer.Option(help="how much of it is sampled anew, 0 to 1; may be repeated [default: 0.75]")
    ] = None,
    mask: Annotated[Path | None, typer.Option(metavar="PICTURE", help="change what is white in it")] = None,
    mask_blur: Annotated[int, typer.Option(help="of the edge, in pixels", min=0)] = 4,
    fill: Annotated[str, typer.Option(help="under the mask first: original, blur, noise, nothing")] = "original",
    only_masked: Annotated[bool, typer.Option("--only-masked", help="sample the masked part alone")] = False,
    mask_padding: Annotated[int, typer.Option(help="pixels around it, with --only-masked", min=0)] = 32,
    hires: Annotated[float, typer.Option(help="a second pass, so many times larger", min=0, max=8)] = 0.0,
    hires_denoise: Annotated[float, typer.Option(help="how much it samples anew", min=0, max=1)] = 0.5,
    hires_by: Annotated[str, typer.Option(help="enlarge latent or pixel")] = "latent",
    options: BaseOptions,
    as_json: AsJson = False,
) -> None:
    """Sample PROMPT, or every prompt of a file, with any number of trained files attached."""
    from ..app.again import again_request
    from ..app.asked import SampleRequest
    from ..app.session import Session
    from ..base import Place
    from ..data.prompts import Line, PromptFile, read_prompts
    from ..sampling.controls import Controls
    from ..sampling.pictures import SUFFIXES
    from .console import Console

    if sum(given is not None for given in (prompt, prompts, again)) != 1:
        raise TriptychError("give one of a prompt, --prompts FILE, and --again PICTURE")
    if start is None and (mask or denoise) and not again:
        raise TriptychError("--mask and --denoise are for a picture: name it with --from")
    if form not in SUFFIXES:
        raise TriptychError(f"there is no format {form!r}{did_you_mean(form, SUFFIXES)}")
    asked = read_prompts(prompts) if prompts else PromptFile((Line(prompt or ""),))
    if not asked.lines:
        raise TriptychError(f"{prompts} holds no prompts: write one a line")
    changes = {"steps": steps, "guidance": cfg, "sampler": sampler, "negative": negative}
    controls = Controls(
        emphasis, late_steps, width, height, original_size, crop, variation_seed, variation_strength, seed_resize,
        clip_skip, cfg_rescale, freeu, pag, mask_blur=mask_blur, fill=fill, only_masked=only_masked,
        mask_padding=mask_padding, hires=hires, hires_denoise=hires_denoise, hires_by=hires_by,
    )  # fmt: skip
    request = SampleRequest(asked.lines, seed, count, use or (), changes, controls, library, asked.notes, form,
        start=start, mask=mask, denoises=denoise or (),
    )  # fmt: skip
    with Console() as console:
        place = Place.of(options)
        if again:
            request, place = again_request(again, request, place)
        written = Session().sample(request, place, out, console)
    print(json.dumps([str(path) for path in written]) if as_json else "\n".join(map(str, written)))
