"""Samples pictures with any number of files attached, and writes them."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

from ..base import EMBEDDED, Base, Place
from ..base.blocks import FAMILIES, block_weights
from ..base.opening.loading import path_of
from ..data.prompts import Line
from ..exchange.artifact import compose, moves_of
from ..files.atomic import make_folder, shortened
from ..files.library import Library
from ..prompt.words import whole_word
from ..sampling.controls import Controls, region_of
from ..sampling.generate import stream
from ..sampling.heat import save_heat
from ..sampling.pictures import SUFFIXES, save_picture
from ..sampling.preview import Preview, Watching
from ..sampling.recipe import ModelFile, Recipe, Used
from ..sampling.request import Request, Share
from ..study.progress import Progress, Silent
from .asked import SampleRequest
from .calling import WORD, Attached, Prompt, PromptReader, attached_by
from .jobs import Job, Notes, jobs_of
from .previews import Previews

if TYPE_CHECKING:
    from PIL.Image import Image
    from torch import Tensor


def sample_files(
    request: SampleRequest,
    place: Place,
    out: Path,
    progress: Progress,
    opened: Callable[[Place], Base] = Place.open,
) -> list[Path]:
    """Sample pictures and write each as it is ready. Numbers continue after the pictures in the folder.

    `opened` gives the base of a place.

    Raises:
        TriptychError: bad input, or the folder cannot be written.
    """
    note = Notes(progress)
    reading = Reading.of(request, note)
    make_folder(out)
    progress.stage("opening", 1)
    place = named(place, request.library)
    base = opened(place)
    written = write_pictures(reading, base, place, out, progress)
    note.count()
    return [path for path, _ in written]


def write_pictures(
    reading: Reading, base: Base, place: Place, out: Path, progress: Progress
) -> list[tuple[Path, Sampled]]:
    """Sample pictures and write each with its recipe as it is ready. They are returned in their order."""
    request = reading.request
    first = 1 + max((int(path.stem) for path in out.glob("*.*") if _is_ours(path)), default=-1)
    writer = Writer(base, place, request)
    written: dict[int, tuple[Path, Sampled]] = {}
    previews = Previews(out, first)
    watching = Watching(previews, request.preview) if request.preview else None
    with previews:
        for number, sampled in reading.sampled(base, progress, watching):
            path = out / f"{first + number:05}{SUFFIXES[request.form]}"
            writer.write(path, sampled)
            previews.remove(number)
            for word, found in sampled.heat.items():
                save_heat(path.with_name(f"{path.stem}-{shortened(_plain(word), 60)}.png"), sampled.picture, found)
            written[number] = (path, sampled)
            progress.advance()
    return [found for _, found in sorted(written.items())]


def generate(
    base: Base, prompt: str, seeds: Sequence[int] = (0,), uses: Sequence[str] = (), negative: str = "",
    controls: Controls | None = None, library: Path | None = None, progress: Progress | None = None,
    watch: Callable[[Preview], None] | None = None, **changes: str | int | float,
) -> list[Image]:  # fmt: skip
    """The pictures of a prompt, with its markup and its tags read, as `triptych generate` samples them.

    Args:
        seeds: one of each picture.
        uses: files to attach, as `FILE` or `FILE:STRENGTH`.
        controls: sizes, emphasis, and whatever else can be set.
        library: the folder with the files that the prompt calls.
        progress: is told what is not used.
        watch: is called after each step with a preview of the pictures of a batch.
        changes: steps, guidance, sampler.

    Raises:
        TriptychError: bad input.
    """
    lines = [Line(prompt, negative, seed) for seed in seeds]
    request = SampleRequest(lines, uses=uses, changes=changes, controls=controls or Controls(), library=library)
    progress = progress or Silent()
    watching = Watching(watch) if watch else None
    found = dict(Reading.of(request, Notes(progress)).sampled(base, progress, watching))
    return [found[number].picture for number in range(len(lines))]


@dataclass(frozen=True)
class Sampled:
    """A picture, with the job that it is of, and the request of it alone."""

    picture: Image
    job: Job
    single: Request
    uses: tuple[Used, ...]
    heat: Mapping[str, Tensor]  # word -> its map of attention [height, width of the latents]


@dataclass(frozen=True)
class Reading:
    """Prompts that are read, with the files that are attached to them."""

    request: SampleRequest
    note: Notes
    attached: Sequence[Attached]
    reader: PromptReader
    prompts: Sequence[Prompt]

    @classmethod
    def of(cls, request: SampleRequest, note: Notes) -> Reading:
        """
        Raises:
            TriptychError: a file is missing or damaged, a prompt is wrong, or a mask is without a picture.
        """
        request.check()
        for sentence in request.notes:
            note(sentence)
        attached = [attached_by(use, note) for use in request.uses]
        library = Library(request.library) if request.library else None
        reader = PromptReader(library, note, request.controls.late_steps)
        negative = str(request.changes.get("negative") or "")
        own = [negative if line.negative is None else line.negative for line in request.prompts]
        edit = request.controls.edit
        read = [reader.read(line.prompt, away, edit) for line, away in zip(request.prompts, own, strict=True)]
        texts = [region_of(region)[1] for region in request.controls.regions]
        if texts:
            read = [
                replace(prompt, regions=tuple(reader.read(text, prompt.negative) for text in texts)) for prompt in read
            ]
        return cls(request, note, attached, reader, read)

    @property
    def files(self) -> list[Used]:
        """The files that are attached to all pictures or to some of them, each once."""
        return list(dict.fromkeys(file.used for file in (*self.attached, *self.reader.attached)))

    @property
    def words(self) -> list[str]:
        """The learned words of the files."""
        parts = [part for file in (*self.attached, *self.reader.attached) for part in file.parts]
        return [part.artifact.settings.token for part in parts if part.artifact.method == WORD]

    def without(self, files: Sequence[Used]) -> Reading:
        """The same without some files."""
        owned = {owner: [file for file in own if file.used not in files] for owner, own in self.reader.owned.items()}
        attached = [file for file in self.attached if file.used not in files]
        return replace(self, attached=attached, reader=replace(self.reader, owned=owned))

    def sampled(
        self, base: Base, progress: Progress, watching: Watching | None = None
    ) -> Iterator[tuple[int, Sampled]]:
        """Sample the pictures, each with its number among all, as they are ready. `watching` sees them by number."""
        self._note_files(base)
        shares: Sequence[Share | None] = self.request.shares or [None] * len(self.prompts)
        lines = zip(self.request.prompts, self.prompts, shares, strict=True)
        jobs = [
            job for line, prompt, share in lines for job in jobs_of(base, self.request, line, prompt, self.note, share)
        ]
        files = [*self.attached, *self.reader.attached]
        parts = [part for file in files for part in file.parts]
        courses = [file.course for file in files for _ in file.parts]
        for sentence in (sentence for part in parts for sentence in part.artifact.not_used(base)):
            self.note(sentence)
        with compose(base, *parts) as patches:
            moves = moves_of(patches, parts, courses)
            progress.stage("sampling", sum(len(job.seeds) for job in jobs))
            done = 0
            for (sampling, controls), group in groupby(jobs, lambda job: job.alike):
                alike = list(group)
                places = [(job, single) for job in alike for single in job.request.singles]
                heat: dict[int, dict[str, Tensor]] = {}
                requests = [job.request for job in alike]
                seen = watching.counted_from(done) if watching else None
                for i, picture in stream(base, requests, sampling, controls, moves, heat.__setitem__, seen):
                    job, single = places[i]
                    uses = (*(_used(file, job) for file in self.attached), *job.prompt.uses)
                    yield done + i, Sampled(picture, job, single, uses, heat.get(i, {}))
                done += len(places)

    def _note_files(self, base: Base) -> None:
        """Note what of base and files is not as it may have been meant."""
        made = self.request.made
        if made.fingerprint and made.fingerprint != base.identity:
            self.note(f"the picture was made with another base: {made.base}, of the fingerprint {made.fingerprint}")
        for file in self.reader.attached:
            if made.hashes.get(file.used.file.name, file.used.file.sha256) != file.used.file.sha256:
                self.note(f"{file.used.file.name} is not the file of that name that the picture was made with")
            blocks = file.used.blocks
            if blocks and base.family.name not in FAMILIES[len(block_weights(blocks))]:
                title = base.family.title
                self.note(
                    f"lbw={blocks} is for another family than {title}: blocks that it does not name have weight 0"
                )
        for word, path in self.reader.words.items():
            if len(base.texts[0].spell([word])[0]) == 1:
                self.note(f"{word!r} is a word of the base, too: prompts read it as the embedding {path.name}")


class Writer:
    """Writes pictures with their recipes."""

    def __init__(self, base: Base, place: Place, request: SampleRequest) -> None:
        self.base = base
        source = path_of(place.source)
        self.model = ModelFile.of(source) if source.is_file() else None
        self.vae = ModelFile.of(Path(place.vae)) if place.vae else None
        self.start, self.mask = (ModelFile.of(path) if path else None for path in (request.start, request.mask))

    def write(self, path: Path, sampled: Sampled) -> None:
        job, single = sampled.job, sampled.single
        recipe = Recipe.of(
            self.base, job.line.prompt, single.seeds[0], sampled.uses, job.sampling, self.model, self.vae, job.controls,
            single.variations, self.start, self.mask, str(single.share or ""),
        )  # fmt: skip
        save_picture(path, sampled.picture, recipe)


def _used(file: Attached, job: Job) -> Used:
    """The recipe entry of a file attached to all pictures. An embedding is used where the prompt has its word."""
    if file.used.method != WORD:
        return file.used
    tokens = [part.artifact.settings.token for part in file.parts]
    texts = (job.prompt.text, job.sampling.negative, job.controls.edit, *(region.text for region in job.prompt.regions))
    spelled = any(whole_word(token).search("\n".join(texts)) for token in tokens)
    return replace(file.used, called=spelled)


def _plain(word: str) -> str:
    """A word as a part of a file's name."""
    return re.sub(r"\W+", "-", word).strip("-") or "word"


def _is_ours(path: Path) -> bool:
    """Whether a file may be one of the numbered pictures of a folder."""
    return path.stem.isdecimal() and path.suffix in SUFFIXES.values()


def named(place: Place, library: Path | None) -> Place:
    """The place of a base, with names of checkpoints and autoencoders in the library resolved to paths."""
    if library is None:
        return place
    known = Library(library)
    bare = place.source not in EMBEDDED and "/" not in place.source and not Path(place.source).exists()
    source = str(known.find("checkpoint", place.source)[0]) if bare else place.source
    vae = place.vae if not place.vae or Path(place.vae).exists() else str(known.find("vae", place.vae)[0])
    return replace(place, source=source, vae=vae)
