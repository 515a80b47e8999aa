"""The command `caption`."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from ..errors import printable
from ..options import LearningOptions
from .configured import is_typed
from .options import AsJson, with_options

FOR_TAGS = ("threshold", "character_threshold", "exclude")


@with_options(LearningOptions, "class_word", "token", "only")
def caption(
    *,
    folder: Annotated[Path, typer.Argument(help="a folder of pictures")],
    context: typer.Context,
    model: Annotated[str, typer.Option(help="a captioner or tagger: a folder or hub id of a BLIP, Florence-2, WD14")],
    device: Annotated[str, typer.Option(help="cpu, cuda, cuda:1, mps; auto: the best there is")] = "auto",
    threshold: Annotated[float, typer.Option(help="least probability of a tag", min=0, max=1)] = 0.35,
    character_threshold: Annotated[float, typer.Option(help="that of a character's name", min=0, max=1)] = 0.85,
    exclude: Annotated[str, typer.Option(help="tags that no caption gets: a,b,c")] = "",
    overwrite: Annotated[bool, typer.Option("--overwrite", help="replace captions in .txt files that exist")] = False,
    options: LearningOptions,
    as_json: AsJson = False,
) -> None:
    """Write a .txt with a caption beside each picture of FOLDER that has none."""
    from ..app.caption import Captioner, Describer, caption_folder
    from ..app.tagging import Tagger, Tagging, is_tagger
    from ..data.concepts import open_concepts
    from .console import Console

    concepts = open_concepts(
        [folder], class_words=[options.class_word], tokens=[options.token], only=options.only or None
    )
    if is_tagger(model):
        excluded = [tag.strip() for tag in exclude.split(",") if tag.strip()]
        describer: Describer = Tagger(model, device, Tagging(threshold, character_threshold, excluded))
    else:
        describer = Captioner(model, device)
        given = [f"--{name.replace('_', '-')}" for name in FOR_TAGS if is_typed(context, name)]
        if given:
            print(f"not used: {', '.join(given)} ({model} writes sentences, not tags)", file=sys.stderr)
    with Console() as console:
        each = {
            f"{concept.name}/" if len(concepts) > 1 else "": caption_folder(
                concept, describer, overwrite=overwrite, progress=console
            )
            for concept in concepts
        }
    captions = {of + name: text for of, written in each.items() for name, text in written.captions.items()}
    notes = [of + note for of, written in each.items() for note in written.notes]
    if as_json:
        print(json.dumps({"captions": captions, "notes": notes}, ensure_ascii=False))
        return
    for line in (*(f"{name}: {text}" for name, text in captions.items()), *notes):
        print(printable(line))
