"""A character in many scenes that keep what identifies it, beside plain pictures of the same prompts and seeds."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from ..base import Base, Place
from ..data.prompts import Line
from ..errors import TriptychError, shown
from ..files.atomic import make_folder, write_text
from ..prompt.words import whole_word
from ..report.compared import Block, Compared, write_compared, write_sheet
from ..sampling.pictures import SUFFIXES
from ..sampling.request import Share
from ..study.progress import Progress, Within
from .asked import SampleRequest, settled
from .consistency import Arm, Measured, Scene, fidelities, measured
from .jobs import OPTIONS, SIDES, Notes
from .judges import Judges
from .sample import Reading, Writer, named

if TYPE_CHECKING:
    from ..options import SceneOptions

FEWEST = 3  # scenes; the means over pairs of two have no spread
REPORT = ("scenes.png", "scenes.html", "scenes.json")


@dataclass(frozen=True)
class ScenesRequest:
    """A request for a character in many scenes.

    Attributes:
        sampling: a prompt for each scene, and whatever else is asked of pictures. Scene k has seed + k x count, so that
            all pictures have noise of their own.
        subject: the word of all prompts that names the character. "" is the learned word that they have, if any.
        common_noise: how much of their noise the scenes of a set have in common, 0 to 1.
        share: how they share self-attention; strength 0: not at all.
        anchors: the first scenes, which the others read.
    """

    sampling: SampleRequest
    subject: str = ""
    common_noise: float = 0.5
    share: Share = field(default_factory=Share)
    anchors: int = 4

    @classmethod
    def of(cls, sampling: SampleRequest, options: SceneOptions) -> ScenesRequest:
        share = Share(options.share, options.share_until, options.share_dropout, options.subject)
        return cls(sampling, options.subject, options.common_noise, share, options.anchors)


@dataclass(frozen=True)
class ScenesResult:
    """The files, and what was measured of each way of sampling, plain sampling first."""

    sheet: Path
    page: Path
    pictures: tuple[Path, ...]
    arms: tuple[Measured, ...]


def sample_scenes(
    asked: ScenesRequest, place: Place, out: Path, progress: Progress, judges: Judges, opened: Callable[[Place], Base]
) -> ScenesResult:
    """Sample a set of scenes for each picture of a prompt, plainly and kept alike; write a sheet, a page, scenes.json.

    The plain pictures have the same files, prompts and seeds. They have neither common noise nor shared self-attention.

    Raises:
        TriptychError: bad input, or a prompt does not name the subject.
    """
    note = Notes(progress)
    _check(asked)
    for sentence in _unused(asked):
        note(sentence)
    reading = Reading.of(replace(asked.sampling, prompts=_seeded(asked)), note)
    subject = _subject(asked, reading, note)
    make_folder(out)
    place = named(place, asked.sampling.library)
    base = opened(place)
    encoder = judges.encoder(base)
    world = bool(base.folder and (base.folder / "world.toml").exists())
    heat = (subject,) if subject and not world else ()
    arms = _arms(asked, reading, subject)
    progress.stage("sampling", len(arms) * len(reading.prompts) * asked.sampling.count)
    drawn = []
    for name, own in arms:
        ending = "" if name == arms[-1][0] else f"-{name.split()[0]}"
        heated = replace(own, request=replace(own.request, heat=heat))
        drawn.append(Arm(name, _drawn(heated, base, place, out, ending, progress)))
    values = fidelities(drawn, base, encoder, judges, subject, reading.words)
    if not any("prompt_fidelity" in own for own in values.values()):
        note.once("prompt fidelity is not measured: no encoder of texts is named, and the base describes no world")
    note.count()
    found = measured(drawn, encoder, values, subject, world)
    return _report(asked, drawn, found, values, out, encoder.name, subject)


def _check(asked: ScenesRequest) -> None:
    lines = asked.sampling.prompts
    if len(lines) < FEWEST:
        raise TriptychError(f"a set has {FEWEST} scenes or more, a prompt each, and here are {len(lines)}")
    for line in lines:
        if own := [name for name in line.options if name in (*OPTIONS, *SIDES)]:
            raise TriptychError(f"{line.where}: the scenes of a set are sampled alike, so that none has its {own[0]}")
    if asked.sampling.controls.changed(("variation_seed", "variation_strength")):
        raise TriptychError("scenes have common noise in the place of a variation: leave the variation out")


def _unused(asked: ScenesRequest) -> list[str]:
    """One sentence for each thing that is not used since no self-attention is shared."""
    usual = Share(asked.share.strength)
    given = {
        "the share of the steps": asked.share.until != usual.until,
        "the dropout": asked.share.dropout != usual.dropout,
        "the number of anchors": asked.anchors != ScenesRequest.anchors,
    }
    return [
        f"{name} is not used: no self-attention is shared"
        for name, stated in given.items()
        if stated and not asked.share.strength
    ]


def _seeded(asked: ScenesRequest) -> list[Line]:
    """The lines with seeds of their own, counted from the seed of the set, so that no two pictures have the same."""
    request = asked.sampling
    first = settled(request.seed or 0)
    return [
        replace(line, seed=first + k * request.count if line.seed is None else settled(line.seed))
        for k, line in enumerate(request.prompts)
    ]


def _subject(asked: ScenesRequest, reading: Reading, note: Notes) -> str:
    """The word that names the character in all prompts.

    Raises:
        TriptychError: a prompt does not have it.
    """
    subject = asked.subject
    if not subject:
        learned = [word for word in reading.words if all(_says(prompt.text, word) for prompt in reading.prompts)]
        subject = learned[0] if learned else ""
        if subject:
            note.once(f"the subject is {subject}")
        elif asked.share.strength:
            note.once("no subject is named, so that scenes share the whole picture, the background too")
    for line, prompt in zip(reading.request.prompts, reading.prompts, strict=True):
        if subject and not _says(prompt.text, subject):
            raise TriptychError(f"{line.where or shown(line.prompt)} does not name the subject {subject!r}")
    return subject


def _says(prompt: str, word: str) -> bool:
    return bool(whole_word(word).search(prompt))


def _arms(asked: ScenesRequest, reading: Reading, subject: str) -> list[tuple[str, Reading]]:
    """The ways of sampling that are compared: plain, with common noise, and with shared self-attention, too."""
    arms, request = [("plain", reading)], reading.request
    if asked.common_noise:
        seed = reading.request.prompts[0].seed or 0
        controls = replace(request.controls, variation_seed=seed, variation_strength=asked.common_noise)
        request = replace(request, controls=controls)
        arms.append((f"common noise {asked.common_noise:g}", replace(reading, request=request)))
    if asked.share.strength:
        count = len(request.prompts)
        shares = [replace(asked.share, subject=subject, anchor=k < asked.anchors) for k in range(count)]
        arms.append(("shared attention", replace(reading, request=replace(request, shares=shares))))
    return arms


def _drawn(reading: Reading, base: Base, place: Place, out: Path, ending: str, progress: Progress) -> list[Scene]:
    """Sample and write the pictures of one way, in the order of scenes and then of sets."""
    writer, count = Writer(base, place, reading.request), reading.request.count
    found = {}
    for number, sampled in reading.sampled(base, Within(progress, counted=False)):
        path = out / f"{number:05}{ending}{SUFFIXES[reading.request.form]}"
        writer.write(path, sampled)
        found[number] = Scene(number // count, number % count, path, sampled)
        progress.advance()
    return [scene for _, scene in sorted(found.items())]


def _report(
    asked: ScenesRequest, drawn: Sequence[Arm], found: Sequence[Measured], values: dict[Path, dict[str, float]],
    out: Path, encoder: str, subject: str,
) -> ScenesResult:  # fmt: skip
    lines = asked.sampling.prompts
    blocks = []
    for number in range(asked.sampling.count):
        own = [[scene for scene in arm.scenes if scene.set == number] for arm in drawn]
        cells = [[scene.path for scene in scenes] for scenes in own]
        captions = [[_said(values.get(scene.path, {})) for scene in scenes] for scenes in own]
        label = f"seed {own[0][0].sampled.single.seeds[0]}"
        rows = [f"{one.name}: {_said(one.values)}" for one in found]
        blocks.append(Block(label, [line.prompt for line in lines], rows, cells, captions))
    title = f"{subject} in {len(lines)} scenes" if subject else f"{len(lines)} scenes"
    compared = Compared(title, ["the scene", "the way of sampling"], blocks)
    sheet, page, data = (out / name for name in REPORT)
    write_sheet(compared, sheet)
    write_compared(compared, page)
    told = {
        "encoder": encoder, "subject": subject, "share": asdict(asked.share), "anchors": asked.anchors,
        "common_noise": asked.common_noise, "arms": [asdict(one) for one in found],
        "pictures": [
            {"arm": arm.name, "scene": scene.number, "set": scene.set, "picture": scene.path.name,
             **values.get(scene.path, {})}
            for arm in drawn for scene in arm.scenes
        ],
    }  # fmt: skip
    write_text(data, json.dumps(told, indent=1))
    return ScenesResult(sheet, page, tuple(scene.path for scene in drawn[-1].scenes), tuple(found))


def _said(values: Mapping[str, float]) -> str:
    return ", ".join(f"{name.replace('_', ' ')} {value:.2f}" for name, value in values.items())
