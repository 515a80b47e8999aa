"""The command `scenes`."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from ..options import SceneOptions
from .options import AsJson, Form, Guidance, NamedFiles, Sampler, Steps, UseInAll, with_options


@with_options(SceneOptions)
def scenes(
    *,
    prompts: Annotated[Path, typer.Argument(help="a file with a prompt for each scene, one a line")],
    out: Annotated[Path, typer.Option(help="the folder for the sheet, the page and the pictures")] = Path("scenes"),
    form: Form = "png",
    negative: Annotated[str, typer.Option(help="what to keep away from")] = "",
    use: UseInAll = None,
    library: NamedFiles = None,
    seed: Annotated[int, typer.Option(help="of the first scene; -1: one chosen at random", min=-1)] = 0,
    count: Annotated[int, typer.Option("-n", help="sets: pictures of each scene", min=1)] = 1,
    steps: Steps = None,
    cfg: Guidance = None,
    sampler: Sampler = None,
    concept: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="the pictures that the files were trained on")
    ] = None,
    image_encoder: Annotated[str, typer.Option(help="what judges pictures")] = "",
    text_encoder: Annotated[str, typer.Option(help="what judges prompts")] = "",
    options: SceneOptions,
    as_json: AsJson = False,
) -> None:
    """Sample a character in many scenes that keep it alike, and measure that against plain sampling."""
    from ..app.asked import SampleRequest
    from ..app.judges import Judges
    from ..app.scenes import ScenesRequest
    from ..app.session import Session
    from ..base import Place
    from ..data.concept import Concept
    from ..data.prompts import read_prompts
    from ..sampling.controls import Controls
    from .console import Console

    read = read_prompts(prompts)
    changes = {"steps": steps, "guidance": cfg, "sampler": sampler, "negative": negative}
    sampling = SampleRequest(
        read.lines, seed, count, use or (), changes, Controls.of(options.controls), library, read.notes, form
    )
    judges = Judges(Concept.open(concept) if concept else None, image_encoder, text_encoder)
    with Console() as console:
        request = ScenesRequest.of(sampling, options)
        made = Session().scenes(request, Place.of(options.place), out, judges, console)
    said = {
        "sheet": str(made.sheet), "page": str(made.page), "pictures": [str(path) for path in made.pictures],
        "arms": [asdict(arm) for arm in made.arms],
    }  # fmt: skip
    print(json.dumps(said) if as_json else "\n".join([*map(str, made.arms), str(made.sheet), str(made.page)]))
