"""Sample pictures with any number of files attached, and write them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path

from ..base import EMBEDDED, Place
from ..errors import TriptychError
from ..exchange.artifact import Part, compose
from ..files.atomic import make_folder
from ..files.library import Library
from ..sampling.generate import Request, settings_for, stream
from ..sampling.recipe import Recipe, save_png
from ..study.progress import Progress
from .calling import Caller, parts_in


@dataclass(frozen=True)
class SampleRequest:
    """What to draw: prompts, the seeds of each, the files to attach (`FILE` or `FILE:STRENGTH`), and how.

    `library`: the folder that holds what prompts call by name.
    """

    prompts: Sequence[str]
    seeds: tuple[int, ...]
    uses: tuple[str, ...]
    changes: Mapping[str, str | int | float | None]
    library: Path | None = None


def sample_files(request: SampleRequest, place: Place, out: Path, progress: Progress) -> list[Path]:
    """Draw and write numbered pictures as they come, after those that the folder holds already.

    Raises:
        TriptychError: bad input, or the folder cannot be written.
    """
    parts = [part for use in request.uses for part in parts_of(use)]
    caller = Caller(Library(request.library) if request.library else None)
    negative = str(request.changes.get("negative") or "")
    read = [caller.read(prompt, negative) for prompt in request.prompts]
    make_folder(out)
    first = 1 + max((int(path.stem) for path in out.glob("*.png") if path.stem.isdecimal()), default=-1)
    progress.stage("opening", 1)
    base = _named(place, request.library).open()
    drawing = settings_for(base, **request.changes)
    requests = [Request(text, request.seeds, owner, drawing.negative) for text, owner in read]
    attached = [*parts, *chain(*caller.parts.values())]
    for note in dict.fromkeys(note for part in attached for note in part.artifact.notes):
        progress.note(note)
    with compose(base, *attached):
        for text, owner in read:
            with base.rows({owner: slice(0, 1)}):
                if len(base.texts[0].spell([text])[0]) > base.texts[0].room:
                    progress.note(f"only the first {base.texts[0].room} tokens of {text[:40]!r}... are read")
        progress.stage("drawing", len(request.prompts) * len(request.seeds))
        for i, picture in stream(base, requests, drawing):
            prompt, seed = divmod(i, len(request.seeds))
            recipe = Recipe.of(base, request.prompts[prompt], request.seeds[seed], request.uses, drawing)
            save_png(out / f"{first + i:05}.png", picture, recipe)
            progress.advance()
    return [out / f"{first + i:05}.png" for i in range(len(request.prompts) * len(request.seeds))]


def _named(place: Place, library: Path | None) -> Place:
    """A base, or a checkpoint or autoencoder of the library, called by name."""
    if library is None:
        return place
    known = Library(library)
    bare = place.source not in EMBEDDED and "/" not in place.source and not Path(place.source).exists()
    source = str(known.find("checkpoint", place.source)) if bare else place.source
    vae = place.vae if not place.vae or Path(place.vae).exists() else str(known.find("vae", place.vae))
    return replace(place, source=source, vae=vae)


def parts_of(use: str) -> list[Part]:
    """`FILE` or `FILE:STRENGTH` as parts of a picture.

    Raises:
        TriptychError: no such file, or the strength is not a number.
    """
    name, colon, strength = use.rpartition(":")
    if not colon or Path(use).exists():
        name, strength = use, "1"
    try:
        return parts_in(Path(name), (float(strength),))
    except ValueError:
        raise TriptychError(f"the strength in --use {use!r} is not a number: write FILE:0.8") from None


def read_prompts(path: Path) -> list[str]:
    """The lines of a file that are not empty.

    Raises:
        TriptychError: no such file, not text, or no line in it.
    """
    try:
        prompts = [line.strip() for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise TriptychError(
            f"{path} cannot be read as a file of prompts: {getattr(error, 'strerror', error)}"
        ) from error
    if not prompts:
        raise TriptychError(f"{path} holds no prompts: write one a line")
    return prompts
