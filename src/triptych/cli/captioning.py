"""The command `caption`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from ..errors import printable
from ..options import LearningOptions
from .options import AsJson, with_options


@with_options(LearningOptions, "class_word", "token")
def caption(
    *,
    folder: Annotated[Path, typer.Argument(help="a folder of pictures")],
    model: Annotated[str, typer.Option(help="a captioner: a folder or hub id of a BLIP, a Florence-2 and the like")],
    device: Annotated[str, typer.Option(help="cpu, cuda, cuda:1, mps; auto: the best there is")] = "auto",
    overwrite: Annotated[bool, typer.Option("--overwrite", help="replace captions in .txt files that exist")] = False,
    options: LearningOptions,
    as_json: AsJson = False,
) -> None:
    """Write a .txt with a caption beside each picture of FOLDER that has none."""
    from ..app.caption import Captioner, caption_folder
    from ..data.concept import Concept
    from .console import Console

    concept = Concept.open(folder, class_word=options.class_word or None, token=options.token or None)
    with Console() as console:
        written = caption_folder(concept, Captioner(model, device), overwrite=overwrite, progress=console)
    if as_json:
        print(json.dumps(vars(written), ensure_ascii=False))
        return
    for name, text in written.captions.items():
        print(printable(f"{name}: {text}"))
    for note in written.notes:
        print(printable(note))
