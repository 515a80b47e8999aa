"""The command `grid`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from ..options import SamplingOptions
from .options import AsJson, with_options


@with_options(SamplingOptions)
def grid(
    *,
    prompt: Annotated[str, typer.Argument(help="what to sample")],
    vary: Annotated[
        list[str],
        typer.Option(
            metavar="NAME=VALUE,...",
            help="columns, then rows, then blocks: seed=0,1; cfg=2-8 [3]; sampler=...; use=a.safetensors:0.5,none; "
            "base=...; prompt=cat,dog replaces cat; any control by its name",
        ),
    ],
    out: Annotated[Path, typer.Option(help="the folder for the sheet, the page and the pictures")] = Path("grid"),
    form: Annotated[str, typer.Option("--format", help="png, jpeg or webp")] = "png",
    negative: Annotated[str, typer.Option(help="what to keep away from")] = "",
    use: Annotated[
        list[str] | None, typer.Option("--use", metavar="FILE[:STRENGTH]", help="attach a file to all of them")
    ] = None,
    library: Annotated[Path | None, typer.Option(help="a folder with the files that prompts name")] = None,
    seed: Annotated[int, typer.Option(help="of all of them; -1: one chosen at random", min=-1)] = 0,
    steps: Annotated[int | None, typer.Option(help="steps of the sampler", min=1)] = None,
    cfg: Annotated[float | None, typer.Option(help="scale of classifier-free guidance", min=0)] = None,
    sampler: Annotated[str | None, typer.Option(help="ddim, euler-a, 'DPM++ 2M Karras', ...")] = None,
    start: Annotated[
        Path | None, typer.Option("--from", metavar="PICTURE", help="begin with a picture instead of noise")
    ] = None,
    mask: Annotated[Path | None, typer.Option(metavar="PICTURE", help="change what is white in it")] = None,
    options: SamplingOptions,
    as_json: AsJson = False,
) -> None:
    """Sample PROMPT once for each combination of values, into one labelled sheet and one page."""
    from ..app.asked import SampleRequest
    from ..app.axes import axes_of
    from ..app.session import Session
    from ..base import Place
    from ..data.prompts import Line
    from ..sampling.controls import Controls
    from .console import Console

    changes = {"steps": steps, "guidance": cfg, "sampler": sampler, "negative": negative}
    request = SampleRequest(
        [Line(prompt)], seed, 1, use or (), changes, Controls.of(options.controls), library, form=form, start=start,
        mask=mask,
    )  # fmt: skip
    with Console() as console:
        made = Session().grid(axes_of(vary), request, Place.of(options.place), out, console)
        for labels, why in made.failures:
            console.note(f"{', '.join(labels)}: {why}")
    said = {
        "sheet": str(made.sheet), "page": str(made.page), "pictures": [str(path) for path in made.pictures],
        "failures": [{"cell": list(labels), "why": why} for labels, why in made.failures],
    }  # fmt: skip
    print(json.dumps(said) if as_json else f"{made.sheet}\n{made.page}")
