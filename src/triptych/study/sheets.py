"""The sampling stage: the same prompts and seeds for the bare base and for every trained method."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING

from ..base import Base, Owner, Sampling
from ..data.concept import fill
from ..errors import TriptychError
from ..exchange.artifact import compose, moves_of, with_words
from ..exchange.formats import open_artifact
from ..files.atomic import replacing
from ..methods import method_named
from ..metrics import Role, Shown
from ..records import PictureRecord, SheetRecord
from ..sampling.generate import stream
from ..sampling.moves import Move
from ..sampling.pictures import save_picture
from ..sampling.recipe import Recipe, Used
from ..sampling.request import Request
from ..scores import BASE, RESEEDED, parts_of
from .layout import key
from .point import Point, Use
from .prompts import Prompt
from .together import Together
from .training import Run
from .work import Work
from .workers import Task

if TYPE_CHECKING:
    from PIL.Image import Image

FEW = 8  # prompts with the class word alone, and prompts on another base
RESEED = 1000  # added to a prompt's number for the bare base's second picture


@dataclass(frozen=True)
class Sheet:
    """The pictures of one role to sample with one trained method, or with the bare base."""

    method: str
    replicate: int
    role: Role
    asked: tuple[tuple[str, str, int], ...]  # prompt with the class word, prompt as sampled, seed
    folder: Path
    uses: tuple[Use, ...]  # attached at once; none for the bare base

    @property
    def record(self) -> SheetRecord | None:
        """The record of the sampled pictures; None until all of them are sampled."""
        return SheetRecord.read(self.folder) if (self.folder / SheetRecord.NAME).is_file() else None

    @property
    def own_word(self) -> bool:
        """Whether the prompts name the concept by more than the class word."""
        return any(prompt != asked for prompt, asked, _ in self.asked)

    @property
    def seconds_a_picture(self) -> float | None:
        """Wall seconds per picture, as part of a batch; None where none is sampled, or all are taken over."""
        record = self.record
        return record.seconds_a_picture if record else None

    def sampled(self, out: Path) -> list[Shown]:
        """Its pictures, as input of the metrics."""
        paths = [self.folder / _file(i) for i in range(len(self.asked))]
        return [
            Shown(self.method, self.replicate, self.role, prompt, seed, path, path.relative_to(out).as_posix())
            for path, (prompt, _, seed) in zip(paths, self.asked, strict=True)
        ]


def sheets(work: Work, trained: Sequence[Run | Together], points: Mapping[str, Point] | None = None) -> list[Sheet]:
    """The sheets of the bare base and of each trained run: the concept, unrelated prompts, the class word alone.

    `points`: method -> the point that it is sampled at; by default full strength, at the end of the training.
    """
    word = work.concept.class_word
    bare = [*sheets_of(work, BASE, 0, word, ()), reseeded(work)]
    runs = ((run.method, run.replicate, run.phrase(work.concept), run.uses(points or {})) for run in trained)
    return [*bare, *(sheet for run in runs for sheet in sheets_of(work, *run))]


def pictures(work: Work, wanted: Sequence[Sheet]) -> list[Shown]:
    """All pictures by role. Pictures of a method without its own word count as pictures of the class word too."""
    found = [picture for sheet in wanted if sheet.record for picture in sheet.sampled(work.layout.out)]
    nameless = {(sheet.method, sheet.replicate) for sheet in wanted if sheet.role == "concept" and not sheet.own_word}
    asked = {(prompt, seed) for prompt, _, seed in _class_word(work)}
    return found + [
        replace(picture, role="class")
        for picture in found
        if picture.role == "concept"
        and (picture.method, picture.replicate) in nameless
        and (picture.prompt, picture.seed) in asked
    ]


def seconds_a_picture(wanted: Sequence[Sheet]) -> dict[str, float]:
    """Method -> wall seconds of sampling a picture, the mean over its pictures of the concept and of unrelated prompts.

    Those are the pictures that a larger study has more of. Unrelated prompts may be sampled in fewer steps.
    """
    known: dict[str, list[tuple[float, int]]] = {}
    for sheet in wanted:
        if sheet.role in ("concept", "unrelated") and (seconds := sheet.seconds_a_picture) is not None:
            known.setdefault(sheet.method, []).append((seconds, len(sheet.asked)))
    return {method: fmean(*zip(*own, strict=True)) for method, own in known.items()}


def _class_word(work: Work) -> list[tuple[str, str, int]]:
    word = work.concept.class_word
    return [asked_for(work, prompt, word) for prompt in work.prompts[:FEW]]


def asked_for(work: Work, prompt: Prompt, phrase: str) -> tuple[str, str, int]:
    class_prompt = fill(prompt.template, work.concept.class_word)
    return class_prompt, fill(prompt.template, phrase), prompt.seed(work.plan.seed)


def sheets_of(work: Work, method: str, replicate: int, phrase: str, uses: tuple[Use, ...]) -> Iterator[Sheet]:
    """The sheets of one row. `phrase` names the concept in its prompts."""
    concept = [asked_for(work, prompt, phrase) for prompt in work.prompts]
    again = [asked_for(work, prompt.next(work.prompts), phrase) for prompt in work.prompts[: work.budget.again]]
    unrelated = [asked_for(work, prompt, phrase) for prompt in work.unrelated]
    asked: list[tuple[Role, list[tuple[str, str, int]]]] = [("concept", concept), ("unrelated", unrelated)]
    if again:
        asked.append(("again", again))
    if phrase != work.concept.class_word:
        asked.append(("class", _class_word(work)))
    if work.other:
        asked.append(("other-base", concept[:FEW]))
    yield from (sheet_of(work, method, replicate, role, wanted, uses) for role, wanted in asked)


def reseeded(work: Work) -> Sheet:
    """A second picture of every unrelated prompt by the bare base: it shows how much two seeds differ."""
    others = [replace(prompt, number=prompt.number + RESEED) for prompt in work.unrelated]
    return sheet_of(work, RESEEDED, 0, "unrelated", [asked_for(work, prompt, "") for prompt in others], ())


def sheet_of(
    work: Work, method: str, replicate: int, role: Role, asked: Sequence[tuple[str, str, int]], uses: tuple[Use, ...]
) -> Sheet:
    """The sheet of these pictures. Its folder is named by all that they depend on."""
    sampled_on = (work.base_key, work.other.identity) if work.other and role == "other-base" else work.base_key
    made_from = (sampled_on, [use.label for use in uses], _settings(work, role).decides, list(asked))
    folder = work.layout.sheets / f"{method}-{replicate}-{role}-{key(*made_from)}"
    return Sheet(method, replicate, role, tuple(asked), folder, uses)


def _settings(work: Work, role: Role) -> Sampling:
    """The sampling settings of a role. The budget may give unrelated prompts fewer steps."""
    sampling = work.base.description.sampling
    few = work.budget.unrelated_steps if role == "unrelated" else 0
    return replace(sampling, steps=few or sampling.steps)


def sample_all(work: Work, wanted: Sequence[Sheet]) -> None:
    """Sample the sheets that are missing. A method that does not fit the other base is skipped there, with a note."""
    missing = missing_of(work, wanted)
    work.progress.stage("sampling", pending(missing))
    tasks = []
    for uses in dict.fromkeys(sheet.uses for sheet in missing):
        own = [sheet for sheet in missing if sheet.uses == uses]
        tasks.append(Task(_sample_with, (uses, own), _calls(work, own)))
    work.share(tasks)


def _sample_with(work: Work, uses: tuple[Use, ...], wanted: Sequence[Sheet]) -> None:
    """Sample sheets that attach the same files, each on its base."""
    here = [sheet for sheet in wanted if sheet.role != "other-base"]
    there = [sheet for sheet in wanted if sheet.role == "other-base"]
    if here:
        sample_on(work, work.base, uses, here)
    if there and work.other:
        try:
            sample_on(work, work.other, uses, there)
        except (TriptychError, RuntimeError, KeyError) as error:
            work.progress.note(f"{there[0].method} cannot be sampled on {work.plan.other_base}: {error}")


def _calls(work: Work, wanted: Sequence[Sheet]) -> int:
    """The steps of all pictures that are to be sampled, which their time is about proportional to."""
    return sum(len(_unsampled(sheet)) * _settings(work, sheet.role).steps for sheet in wanted)


def unfinished(wanted: Sequence[Sheet]) -> list[Sheet]:
    """The sheets that are not sampled, or not all of whose pictures are."""
    return [sheet for sheet in wanted if not sheet.record]


def missing_of(work: Work, wanted: Sequence[Sheet]) -> list[Sheet]:
    """The sheets that are not finished. Pictures that smaller sheets have are taken over first."""
    missing = unfinished(wanted)
    for sheet in missing:
        _keep(work, sheet)
    return missing


def pending(wanted: Sequence[Sheet]) -> int:
    """How many of their pictures are still to be sampled."""
    return sum(len(_unsampled(sheet)) for sheet in wanted)


def _keep(work: Work, sheet: Sheet) -> None:
    """Take over the pictures of smaller sheets that were sampled alike: a study that grows keeps what it has.

    A sheet's folder is named by all that its pictures depend on. So another one was sampled alike if its own pictures,
    asked for in this way, have its name.
    """
    places = {request: place for place, request in enumerate(sheet.asked)}
    for path in sorted(work.layout.sheets.glob(f"{sheet.method}-{sheet.replicate}-{sheet.role}-*/{SheetRecord.NAME}")):
        record = SheetRecord.read(path.parent)
        asked = [(picture.prompt, picture.asked, picture.seed) for picture in record.pictures]
        again = sheet_of(work, sheet.method, sheet.replicate, sheet.role, asked, sheet.uses)
        if again.folder != path.parent:
            continue
        for request, picture in zip(asked, record.pictures, strict=True):
            if request not in places or not (path.parent / picture.file).is_file():
                continue
            own = sheet.folder / _file(places[request])
            if not own.is_file():
                with replacing(own) as temporary:
                    shutil.copyfile(path.parent / picture.file, temporary)


def _file(place: int) -> str:
    return f"{place:05}.png"


def _unsampled(sheet: Sheet) -> list[int]:
    """The places of the pictures that are not in its folder yet."""
    return [place for place in range(len(sheet.asked)) if not (sheet.folder / _file(place)).is_file()]


def sample_on(work: Work, base: Base, uses: tuple[Use, ...], wanted: Sequence[Sheet]) -> None:
    """Sample sheets that attach the same files, on one base."""
    with _attached(base, [(uses, None)]) as moves:
        for sampling in dict.fromkeys(_settings(work, sheet.role) for sheet in wanted):
            alike = [sheet for sheet in wanted if _settings(work, sheet.role) == sampling]
            _sample_alike(work, base, sampling, alike, moves)


def sample_small(work: Work, wanted: Sequence[Sheet]) -> None:
    """Sample the small sheets of one role that are missing. Those that change only their owner's rows share batches."""
    groups = _batches(unfinished(wanted), work.base.description.sampling.batch)
    work.share([Task(_sample_group, (group,), _calls(work, group)) for group in groups])


def _sample_group(work: Work, group: Sequence[Sheet]) -> None:
    """Sample small sheets of one role in joint batches."""
    owners = [sheet.folder.name if _shares_rows(sheet) else None for sheet in group]
    owned = [(sheet.uses, owner) for sheet, owner in zip(group, owners, strict=True)]
    with _attached(work.base, owned) as moves:
        _sample_alike(work, work.base, _settings(work, group[0].role), group, moves, owners)


def _batches(sheets: Sequence[Sheet], most: int) -> Iterator[list[Sheet]]:
    """Groups of sheets with at most `most` pictures. A sheet that changes all rows is a group of its own."""
    group: list[Sheet] = []
    for sheet in sheets:
        if not _shares_rows(sheet):
            yield [sheet]
            continue
        if group and sum(len(member.asked) for member in [*group, sheet]) > most:
            yield group
            group = []
        group.append(sheet)
    if group:
        yield group


def _shares_rows(sheet: Sheet) -> bool:
    return not sheet.uses or all(method_named(name).shares_a_pass for name in parts_of(sheet.method))


@contextmanager
def _attached(base: Base, owned: Sequence[tuple[Sequence[Use], Owner]]) -> Iterator[list[Move]]:
    """Attach the files of every owner. Yields those whose strengths go over the steps."""
    parts = [
        (part, use.course)
        for uses, owner in owned
        for use in uses
        for part in with_words(open_artifact(use.path), use.strength, owner)
    ]
    with compose(base, *(part for part, _ in parts)) as patches:
        yield moves_of(patches, [part for part, _ in parts], [course for _, course in parts])


def _sample_alike(
    work: Work, base: Base, sampling: Sampling, wanted: Sequence[Sheet], moves: Sequence[Move],
    owners: Sequence[Owner] | None = None,
) -> None:  # fmt: skip
    """Sample the sheets that share their sampling settings, the rows of each belonging to its owner.

    Each picture is saved when its batch ends, so a study that is stopped loses one batch at most.
    """
    owned = zip(wanted, owners or [None] * len(wanted), strict=True)
    places = [(sheet, place, owner) for sheet, owner in owned for place in _unsampled(sheet)]
    requests = [Request(sheet.asked[place][1], (sheet.asked[place][2],), owner) for sheet, place, owner in places]
    seconds, began = 0.0, time.perf_counter()  # of sampling, without the time of saving
    for (sheet, place, _), picture in (
        (places[i], picture) for i, picture in stream(base, requests, sampling, moves=moves)
    ):
        seconds += time.perf_counter() - began
        _save(sheet, place, picture, base, sampling)
        work.progress.advance()
        began = time.perf_counter()
    each = seconds / len(requests) / work.at_once if requests else None
    for sheet in wanted:
        records = (PictureRecord(_file(i), prompt, seed, asked) for i, (prompt, asked, seed) in enumerate(sheet.asked))
        SheetRecord(sheet.method, sheet.replicate, sheet.role, tuple(records), each).write(sheet.folder)


def _save(sheet: Sheet, place: int, picture: Image, base: Base, sampling: Sampling) -> None:
    _, asked, seed = sheet.asked[place]
    used = [Used.named(use.source, use.strength, str(use.course or "")) for use in sheet.uses]
    save_picture(sheet.folder / _file(place), picture, Recipe.of(base, asked, seed, uses=used, sampling=sampling))
