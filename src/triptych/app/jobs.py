"""Turns prompts with their options into jobs for sampling, and says what of them is not used."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..base import Base, Sampling
from ..data.notes import total
from ..data.pictures import read_picture
from ..data.prompts import Line
from ..errors import TriptychError, shown
from ..sampling.controls import Controls, region_of
from ..sampling.generate import settings_for
from ..sampling.image_to_image import Start, sizes_differ
from ..sampling.outpainting import Extension
from ..sampling.prompts import Markup, Read
from ..sampling.request import Edit, Guide, Region, Request, Share
from ..study.progress import Progress
from .asked import SampleRequest, settled
from .calling import Prompt

if TYPE_CHECKING:
    from PIL.Image import Image

OPTIONS = ("steps", "guidance", "sampler")  # settings that a line in a file of prompts may override
SIDES = ("width", "height")  # the same, of its controls
MASKING = ("mask_blur", "fill", "only_masked")  # controls that do nothing without a mask


class Notes:
    """Shows notes on input that is not used as given, each sentence once, and counts them."""

    def __init__(self, progress: Progress) -> None:
        self.progress = progress
        self.said: set[str] = set()

    def __call__(self, sentence: str) -> None:
        if sentence not in self.said:
            self.said.add(sentence)
            self.progress.note(sentence)

    def once(self, sentence: str) -> None:
        """Show a sentence on what was chosen, which is not counted."""
        self.progress.note(sentence)

    def count(self) -> None:
        if sentence := total(len(self.said)):
            self.progress.note(sentence)


@dataclass(frozen=True)
class Job:
    """The pictures of one prompt."""

    line: Line
    prompt: Prompt
    sampling: Sampling
    seeds: tuple[int, ...]
    guides: tuple[Guide, ...]
    negative: Guide
    controls: Controls
    start: Start | None = None
    regions: tuple[Region, ...] = ()
    edit: Edit | None = None
    heat: tuple[str, ...] = ()
    share: Share | None = None

    @property
    def request(self) -> Request:
        """The pictures of one prompt. With a variation, its seed counts on, and the picture's seed stays."""
        seeds, variations = self.seeds, tuple[int, ...]()
        if self.controls.variation_strength:
            variations = tuple(self.controls.variation_seed + i for i in range(len(seeds)))
            seeds = (seeds[0],) * len(seeds)
        return Request(
            self.guides, seeds, self.prompt.owner, self.negative.prompt, variations, self.start, self.regions,
            self.edit, self.heat, self.share,
        )  # fmt: skip

    @property
    def alike(self) -> tuple[Sampling, Controls]:
        """Jobs for which this is equal are sampled in one batch."""
        return replace(self.sampling, negative=""), self.controls


def jobs_of(
    base: Base, request: SampleRequest, line: Line, prompt: Prompt, note: Notes, share: Share | None = None
) -> list[Job]:
    """The jobs of a line: one, or one for each part of a picture that is sampled anew.

    `share`: how its pictures share self-attention with those of other lines.

    Raises:
        TriptychError: an option is out of range, or the picture to begin with cannot be read.
    """
    job = replace(_job(base, request, line, prompt, note), share=share)
    return _begun(request, job, base, note)


def _job(base: Base, request: SampleRequest, line: Line, prompt: Prompt, note: Notes) -> Job:
    """The job of a line. Its own options override those of the request.

    Raises:
        TriptychError: an option is out of range.
    """
    own: dict[str, Any] = {name: getattr(line, name) for name in OPTIONS if name in line.options}
    changes = {**request.changes, **own, "negative": prompt.negative}
    try:
        sampling = settings_for(base, **changes)
        controls = replace(request.controls, **{name: getattr(line, name) for name in SIDES if name in line.options})
        for sentence in controls.notes(base):
            note(sentence)
    except TriptychError as error:
        where = f"{line.where}: " if line.where and line.options else ""
        raise TriptychError(f"{where}{error}", *error.remedies) from None
    if request.preview > sampling.steps:
        note(f"there is no preview after {request.preview} steps, since a picture has {sampling.steps}")
    asked = request.seed_of(line)
    seed = settled(asked)
    if seed != asked:
        note.once(f"{line.where or 'the picture'} has the random seed {seed}")
    if seed < 0:
        where = f"{line.where}: " if line.where else ""
        raise TriptychError(f"{where}a seed is a whole number from 0 on, or -1 for a random one, not {seed}")
    markup = Markup(request.controls.emphasis, request.controls.late_steps)
    read, negative = markup.prompt(prompt.text, sampling.steps), markup.negative(prompt.negative, sampling.steps)
    for said, text in ((read, line.prompt), (negative, prompt.negative)):
        _note_remarks(base, said, text, note)
    seeds = tuple(range(seed, seed + request.count))
    regions = _regions(base, controls, prompt, markup, sampling.steps, note)
    edit = _edit(base, controls, markup, sampling.steps, note)
    return Job(
        line, prompt, sampling, seeds, read.guides, negative.guides[0], controls, None, regions, edit,
        tuple(request.heat),
    )  # fmt: skip


def _regions(
    base: Base, controls: Controls, prompt: Prompt, markup: Markup, steps: int, note: Notes
) -> tuple[Region, ...]:
    """The parts of a picture with prompts of their own.

    Raises:
        TriptychError: the mask of one of them cannot be read.
    """
    found = []
    for text, own in zip(controls.regions, prompt.regions, strict=True):
        area, written = region_of(text)
        read = markup.prompt(own.text, steps)
        _note_remarks(base, read, written, note)
        negative = markup.negative(own.negative, steps).guides[0].prompt
        shape = read_picture(area) if isinstance(area, Path) else area
        found.append(Region(read.guides, shape, own.owner, negative))
    return tuple(found)


def _edit(base: Base, controls: Controls, markup: Markup, steps: int, note: Notes) -> Edit | None:
    """
    Raises:
        TriptychError: the edit has AND.
    """
    if not controls.edit:
        return None
    read = markup.prompt(controls.edit, steps)
    _note_remarks(base, read, controls.edit, note)
    (guide, *others) = read.guides
    if others:
        raise TriptychError("AND does not go with an edit: give it one prompt")
    return Edit(guide.prompt, controls.edit_keep, controls.edit_layout, controls.weighted_words, controls.edit_words)


def _begun(request: SampleRequest, job: Job, base: Base, note: Notes) -> list[Job]:
    """The job, for each share of a picture that is sampled anew, if it begins with one.

    Raises:
        TriptychError: the picture or its mask cannot be read, they are of different sizes, or maps of words are asked
            for of a masked part that is sampled alone.
    """
    controls, masked = job.controls, bool(request.mask or job.controls.extend)
    if not masked:
        for name in controls.changed(MASKING):
            note(f"{name} is not used: there is no mask")
    elif request.heat and controls.only_masked:
        raise TriptychError("maps of words do not go with a masked part that is sampled alone")
    if base.denoiser.reads_mask and not masked:
        note(f"{base.name} is a base for inpainting, and there is no mask: all of the picture counts as masked")
    if request.start is None:
        return [job]
    picture, mask = read_picture(request.start), read_picture(request.mask) if request.mask else None
    if controls.extension:
        picture, mask, controls = _extended(picture, mask, controls, controls.extension, base, note)
    start = Start.of(
        picture, controls.size(base), mask, controls.mask_blur, controls.fill,
        controls.mask_padding if controls.only_masked else None,
    )  # fmt: skip
    denoises = request.denoises or (controls.denoise,)
    return [replace(job, controls=replace(controls, denoise=denoise), start=start) for denoise in denoises]


def _extended(
    picture: Image, mask: Image | None, controls: Controls, by: Extension, base: Base, note: Notes
) -> tuple[Image, Image, Controls]:
    """The extended picture with its mask. Its size is that of the new one, unless another is asked for."""
    if mask is not None and mask.size != picture.size:
        raise TriptychError(sizes_differ(mask.size, picture.size))
    if not (controls.width or controls.height or controls.only_masked):
        step = base.pixels * base.denoiser.multiple
        grown = by.rounded(picture.size, step)
        if grown != by:
            note(f"the picture is extended by {grown}, so that its sides are multiples of {step}")
        by = grown
        width, height = by.grown(picture.size)
        controls = replace(controls, width=width, height=height, extend=str(by))
        for sentence in controls.notes(base):
            note(sentence)
    return by.canvas(picture), by.mask(picture.size, mask, 2 * controls.mask_blur), controls


def _note_remarks(base: Base, read: Read, text: str, note: Notes) -> None:
    """Note what of a prompt's markup is not read as it may have been meant, with its position in the whole prompt.

    Tags of files were taken out before, so a position can only be further on.
    """
    for remark in read.remarks:
        note(str(replace(remark, position=max(text.find(remark.piece, remark.position), remark.position))))
    if not base.texts[0].reads_weights and any(guide.has_weights for guide in read.guides):
        note(f"the weights in {shown(text)!r} are not used: the text encoder of {base.family.title} reads none")
