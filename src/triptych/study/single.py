"""One trained file, and pictures with any number of them: a study's parts, each by itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path

from ..artifact import Artifact, Part, compose
from ..base import EMBEDDED, Place
from ..concept import Concept
from ..errors import TriptychError
from ..files import make_folder
from ..fit import Trial, fit
from ..generate import Request, settings_for, stream
from ..library import Library
from ..patch import Examples, method_named
from ..png import Recipe, save_png
from ..settings import Value
from .calling import Caller, parts_in
from .layout import key
from .progress import Progress
from .training import provenance


@dataclass(frozen=True)
class Lesson:
    """A method, the concept it shall learn, and on which base."""

    method: str
    concept: Concept
    place: Place
    settings: Mapping[str, Value]
    seed: int = 0
    thumbnail: Path | None = None  # a picture for the file's metadata


@dataclass(frozen=True)
class Taught:
    """What came of it: the words that name the concept, the parameters learned, the losses.

    `loss` is the mean of the last ten, `fixed_loss` the one on the fixed batch of training pictures when the tensors
    were taken, `kept_step` the steps done by then.
    """

    says: str
    parameters: int
    loss: float | None
    fixed_loss: float | None
    kept_step: int


def teach(lesson: Lesson, out: Path, progress: Progress, *, resume: bool = False, overwrite: bool = False) -> Taught:
    """Train on all pictures of the concept and write one file.

    Raises:
        TriptychError: bad input, the file exists already, or the training failed.
    """
    method, concept = method_named(lesson.method), lesson.concept
    if out.suffix != ".safetensors":
        raise TriptychError(f"the file must end in .safetensors, not {out.suffix or 'nothing'}: {out}")
    if out.exists() and not overwrite:
        raise TriptychError(f"{out} exists already: give another --out, or --overwrite")
    method.configure(lesson.settings)
    make_folder(out.parent)
    progress.stage("opening", 1)
    base = lesson.place.open()
    settings = method.for_concept(
        method.configure(base.description.methods.get(lesson.method, {}), lesson.settings), concept
    )
    examples = Examples.of(base, concept, range(len(concept.pictures)))
    progress.stage("training", getattr(settings, "steps", 1))
    made_from = key(lesson.method, str(settings), base.identity, concept.digest, lesson.seed)
    state = out.with_name(f".{out.stem}.{made_from}.state")
    if not resume:
        state.unlink(missing_ok=True)
    trial = Trial(lesson.method, settings, examples, concept.class_word, lesson.seed)
    fitted = fit(base, [trial], state=state, progress=lambda done, total: progress.advance())[0]
    if fitted.failure:
        raise TriptychError(f"{lesson.method} did not learn: {fitted.failure}")
    says = method.phrase(settings, concept.class_word)
    told = provenance(base, concept, says, lesson.seed)
    Artifact(lesson.method, settings, fitted.tensors, told).save(out, lesson.thumbnail)
    state.unlink(missing_ok=True)
    last = fitted.losses[-10:]
    return Taught(
        says, sum(t.numel() for t in fitted.tensors.values()), sum(last) / len(last) if last else None,
        dict(fitted.fixed).get(fitted.kept_step), fitted.kept_step,
    )  # fmt: skip


@dataclass(frozen=True)
class Wish:
    """What to draw: prompts, the seeds of each, the files to attach (`FILE` or `FILE:STRENGTH`), and how.

    `library`: the folder that holds what prompts call by name.
    """

    prompts: Sequence[str]
    seeds: tuple[int, ...]
    uses: tuple[str, ...]
    changes: Mapping[str, str | int | float | None]
    library: Path | None = None


def paint(wish: Wish, place: Place, out: Path, progress: Progress) -> list[Path]:
    """Draw and write numbered pictures as they come, after those that the folder holds already.

    Raises:
        TriptychError: bad input, or the folder cannot be written.
    """
    parts = [part for use in wish.uses for part in parts_of(use)]
    caller = Caller(Library(wish.library) if wish.library else None)
    negative = str(wish.changes.get("negative") or "")
    read = [caller.read(prompt, negative) for prompt in wish.prompts]
    make_folder(out)
    first = 1 + max((int(path.stem) for path in out.glob("*.png") if path.stem.isdecimal()), default=-1)
    progress.stage("opening", 1)
    base = _named(place, wish.library).open()
    drawing = settings_for(base, **wish.changes)
    requests = [Request(text, wish.seeds, owner, drawing.negative) for text, owner in read]
    with compose(base, *parts, *chain(*caller.parts.values())):
        for text, owner in read:
            with base.rows({owner: slice(0, 1)}):
                if len(base.texts[0].spell([text])[0]) > base.texts[0].room:
                    progress.note(f"only the first {base.texts[0].room} tokens of {text[:40]!r}... are read")
        progress.stage("drawing", len(wish.prompts) * len(wish.seeds))
        for i, picture in stream(base, requests, drawing):
            request, seed = divmod(i, len(wish.seeds))
            recipe = Recipe.of(base, wish.prompts[request], wish.seeds[seed], wish.uses, drawing)
            save_png(out / f"{first + i:05}.png", picture, recipe)
            progress.advance()
    return [out / f"{first + i:05}.png" for i in range(len(wish.prompts) * len(wish.seeds))]


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
