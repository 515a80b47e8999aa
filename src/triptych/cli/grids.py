"""The command `grid`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from ..options import SamplingOptions
from .options import AsJson, Form, Guidance, Mask, NamedFiles, Sampler, Start, Steps, UseInAll, with_options


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
    form: Form = "png",
    negative: Annotated[str, typer.Option(help="what to keep away from")] = "",
    use: UseInAll = None,
    library: NamedFiles = None,
    seed: Annotated[int, typer.Option(help="of all of them; -1: one chosen at random", min=-1)] = 0,
    steps: Steps = None,
    cfg: Guidance = None,
    sampler: Sampler = None,
    start: Start = None,
    mask: Mask = None,
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
