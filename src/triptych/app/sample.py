"""Samples pictures with any number of files attached, and writes them."""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby
from pathlib import Path
from typing import Any

from ..base import EMBEDDED, Base, Drawing, Place
from ..base.opening.loading import path_of
from ..data.notes import total
from ..data.prompts import Line
from ..errors import TriptychError, shown
from ..exchange.artifact import compose
from ..files.atomic import make_folder
from ..files.library import Library
from ..prompt.calls import Call, strength
from ..prompt.words import whole_word
from ..sampling.controls import Controls
from ..sampling.generate import settings_for, stream
from ..sampling.prompts import Markup, Read
from ..sampling.recipe import ModelFile, Recipe, Used, save_png
from ..sampling.request import Guide, Request
from ..study.progress import Progress
from .calling import WORD, Attached, Prompt, PromptReader, parts_in

RANDOM = -1  # stands for a random seed, as in A1111
OPTIONS = ("steps", "guidance", "sampler")  # settings that a line in a file of prompts may override
SEEDS = 1 << 32  # the number of random seeds


@dataclass(frozen=True)
class SampleRequest:
    """A request for pictures: prompts, seeds, files to attach (`FILE` or `FILE:STRENGTH`), and settings.

    Args:
        seed: of the first picture of a prompt without its own seed; picture i has seed + i. -1 is a random seed.
        count: pictures per prompt.
        changes: settings that differ from the base's: steps, guidance, sampler, negative.
        controls: what else can be set.
        library: the folder with the files that prompts name.
        notes: one sentence for each part of the user's input that is already known not to be used.
    """

    prompts: Sequence[Line]
    seed: int
    count: int
    uses: Sequence[str]
    changes: Mapping[str, str | int | float | None]
    controls: Controls = field(default_factory=Controls)
    library: Path | None = None
    notes: Sequence[str] = ()


@dataclass(frozen=True)
class _Job:
    """The pictures of one prompt."""

    line: Line
    prompt: Prompt
    drawing: Drawing
    seeds: tuple[int, ...]
    guides: tuple[Guide, ...]
    negative: Guide

    @property
    def request(self) -> Request:
        return Request(self.guides, self.seeds, self.prompt.owner, self.negative.prompt)


def sample_files(request: SampleRequest, place: Place, out: Path, progress: Progress) -> list[Path]:
    """Sample pictures and write each as it is ready. Numbers continue after the pictures in the folder.

    Raises:
        TriptychError: bad input, or the folder cannot be written.
    """
    note = _Notes(progress)
    for sentence in request.notes:
        note(sentence)
    attached = [attached_by(use) for use in request.uses]
    reader = PromptReader(Library(request.library) if request.library else None, note)
    negative = str(request.changes.get("negative") or "")
    read = [reader.read(line.prompt, negative if line.negative is None else line.negative) for line in request.prompts]
    make_folder(out)
    first = 1 + max((int(path.stem) for path in out.glob("*.png") if path.stem.isdecimal()), default=-1)
    progress.stage("opening", 1)
    place = _named(place, request.library)
    base = place.open()
    jobs = [_job(base, request, line, prompt, note) for line, prompt in zip(request.prompts, read, strict=True)]
    parts = [part for file in attached for part in file.parts] + reader.parts
    for word in reader.words:
        if len(base.texts[0].spell([word])[0]) == 1:
            note(f"{word!r} is a word of the base, too: prompts read it as the embedding {reader.words[word].name}")
    for sentence in (sentence for part in parts for sentence in part.artifact.not_used(base)):
        note(sentence)
    with compose(base, *parts):
        progress.stage("sampling", sum(len(job.seeds) for job in jobs))
        writer = _Writer(base, place, attached, out)
        written: list[Path] = []
        for drawing, alike in groupby(jobs, lambda job: replace(job.drawing, negative="")):
            for path in writer.write(drawing, list(alike), first + len(written)):
                written.append(path)
                progress.advance()
    note.count()
    return sorted(written, key=lambda path: int(path.stem))


@dataclass(frozen=True)
class _Writer:
    """Writes pictures with their recipes."""

    base: Base
    place: Place
    attached: Sequence[Attached]
    out: Path

    def write(self, drawing: Drawing, jobs: Sequence[_Job], first: int) -> Iterator[Path]:
        """Write the pictures of jobs with the same settings, numbered from `first`. Yields each path when written."""
        source = path_of(self.place.source)
        model = ModelFile.of(source) if source.is_file() else None
        vae = ModelFile.of(Path(self.place.vae)) if self.place.vae else None
        places = [(job, seed) for job in jobs for seed in job.seeds]
        for i, picture in stream(self.base, [job.request for job in jobs], drawing):
            job, seed = places[i]
            uses = [_used(file, job) for file in self.attached] + list(job.prompt.uses)
            recipe = Recipe.of(self.base, job.line.prompt, seed, uses, job.drawing, model, vae)
            path = self.out / f"{first + i:05}.png"
            save_png(path, picture, recipe)
            yield path


def _used(file: Attached, job: _Job) -> Used:
    """The recipe entry of a file attached to all pictures. An embedding is used where the prompt has its word."""
    if file.used.method != WORD:
        return file.used
    tokens = [part.artifact.settings.token for part in file.parts]
    spelled = any(whole_word(token).search(f"{job.prompt.text}\n{job.drawing.negative}") for token in tokens)
    return replace(file.used, called=spelled)


def _job(base: Base, request: SampleRequest, line: Line, prompt: Prompt, note: _Notes) -> _Job:
    """The job of a line. Its own options override those of the request.

    Raises:
        TriptychError: an option is out of range.
    """
    own: dict[str, Any] = {name: getattr(line, name) for name in OPTIONS if name in line.options}
    changes = {**request.changes, **own, "negative": prompt.negative}
    try:
        drawing = settings_for(base, **changes)
    except TriptychError as error:
        raise TriptychError(f"{line.where}: {error}" if own else str(error), *error.remedies) from None
    size = (line.width or base.resolution, line.height or base.resolution)
    if size != (base.resolution, base.resolution):
        here = f"{base.resolution} x {base.resolution}"
        note(f"{line.where} asks for {size[0]} x {size[1]} pixels, and all pictures are {here}, as the resolution says")
    seed = request.seed if line.seed is None else line.seed
    if seed == RANDOM:
        seed = secrets.randbelow(SEEDS)
        note.progress.note(f"{line.where or 'the picture'} has the random seed {seed}")
    if seed < 0:
        where = f"{line.where}: " if line.where else ""
        raise TriptychError(f"{where}a seed is a whole number from 0 on, or -1 for a random one, not {seed}")
    markup = Markup(request.controls.emphasis, request.controls.late_steps)
    read, negative = markup.prompt(prompt.text, drawing.steps), markup.negative(prompt.negative, drawing.steps)
    for said, text in ((read, line.prompt), (negative, prompt.negative)):
        _note_remarks(base, said, text, note)
    return _Job(line, prompt, drawing, tuple(range(seed, seed + request.count)), read.guides, negative.guides[0])


def _note_remarks(base: Base, read: Read, text: str, note: _Notes) -> None:
    """Note what of a prompt's markup is not read as it may have been meant, with its position in the whole prompt.

    Tags of files were taken out before, so a position can only be further on.
    """
    for remark in read.remarks:
        note(str(replace(remark, position=max(text.find(remark.piece, remark.position), remark.position))))
    if not base.texts[0].reads_weights and any(guide.has_weights for guide in read.guides):
        note(f"the weights in {shown(text)!r} are not used: the text encoder of {base.family.title} reads none")


class _Notes:
    """Shows notes on input that is not used as given, each sentence once, and counts them."""

    def __init__(self, progress: Progress) -> None:
        self.progress = progress
        self.said: set[str] = set()

    def __call__(self, sentence: str) -> None:
        if sentence not in self.said:
            self.said.add(sentence)
            self.progress.note(sentence)

    def count(self) -> None:
        if sentence := total(len(self.said)):
            self.progress.note(sentence)


def _named(place: Place, library: Path | None) -> Place:
    """The place of a base, with names of checkpoints and autoencoders in the library resolved to paths."""
    if library is None:
        return place
    known = Library(library)
    bare = place.source not in EMBEDDED and "/" not in place.source and not Path(place.source).exists()
    source = str(known.find("checkpoint", place.source)[0]) if bare else place.source
    vae = place.vae if not place.vae or Path(place.vae).exists() else str(known.find("vae", place.vae)[0])
    return replace(place, source=source, vae=vae)


def attached_by(use: str) -> Attached:
    """Open a file from `FILE` or `FILE:STRENGTH`, to attach it to every picture.

    Raises:
        TriptychError: the file is missing, or the strength is not a valid number.
    """
    name, colon, number = use.rpartition(":")
    if not colon or Path(use).exists():
        name, number = use, "1"
    value = strength(number, use)
    parts = parts_in(Path(name), Call("lora", name, value))
    return Attached(tuple(parts), Used.of(Path(name), parts[0].artifact.method, value, called=False))
