"""A study of dilution: mixes, pictures, scores, and the page. What is on disk already is reused."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..base import Base
from ..data.concept import Concept, fill
from ..errors import TriptychError
from ..exchange.artifact import Artifact
from ..exchange.formats import open_artifact
from ..files.atomic import write_text
from ..files.hashes import known_hashes
from ..metrics import Shown
from ..mixing.merge import merge
from ..mixing.overlap import all_overlaps
from ..mixing.request import Ingredient, Mix
from ..scores import BASE
from ..study.layout import Layout, key
from ..study.plan import Plan
from ..study.point import Use
from ..study.progress import Progress
from ..study.sheets import Sheet, sample_all
from ..study.work import Work
from ..units import counted
from ..verdict.evidence import Evidence
from .measure import ALONE, File, Kept, contamination, file_alone, judged, preserved, retention
from .page import write_page
from .plan import Arm, DilutionPlan, Source
from .result import Nearer, Preserved, Result

FILE = "artifact.safetensors"
MIXABLE = ("lora", "dreambooth")


@dataclass(frozen=True)
class _Within:
    """The progress of one sheet, as a part of the stage that is open: it begins no stage of its own."""

    outer: Progress

    def stage(self, name: str, total: int) -> None:
        """Nothing: the stage is open already."""

    def advance(self, units: int = 1) -> None:
        self.outer.advance(units)

    def note(self, sentence: str) -> None:
        self.outer.note(sentence)


@dataclass(frozen=True)
class Member:
    """A file in the study: its artifact, the words that call its concept, and the shared state for its pictures."""

    source: Source
    artifact: Artifact
    work: Work

    @property
    def phrase(self) -> str:
        return self.artifact.kind.phrase(self.artifact.settings, self.work.concept.class_word)


def dilution(plan: DilutionPlan, out: Path, progress: Progress, mixed: tuple[Arm, Path] | None = None) -> Result:
    """Measure what mixes keep of each file, and write dilution.json and dilution.html.

    Args:
        mixed: a mix that exists already, which alone is measured, in place of the plan's.

    Raises:
        TriptychError: bad input, or files that are no changes of weights.
    """
    layout = Layout(out)
    with layout.locked():
        progress.stage("opening", 1)
        members = members_of(plan, plan.place.open(), layout, progress)
        progress.advance()
        arms = [mixed[0]] if mixed else plan.arms
        files = {mixed[0].name: mixed[1]} if mixed else _mixes(plan, arms, members, layout, progress)
        complete = _draw(plan, arms, members, files, progress)
        result = _measured(plan, arms, members, files, complete, progress)
        write_text(out / "dilution.json", result.to_json())
        write_page(result, out)
        return result


def members_of(plan: DilutionPlan, base: Base, layout: Layout, progress: Progress) -> list[Member]:
    """Open the files of a plan with the shared state for their pictures.

    Raises:
        TriptychError: a file or a folder cannot be used, or the files are of several kinds.
    """
    found = []
    for source in plan.sources:
        artifact = open_artifact(source.file)
        if artifact.method not in MIXABLE:
            raise TriptychError(
                f"{source.file.name} is of the kind {artifact.method}: dilution is of changes of weights, so give LoRAs"
                " or DreamBooth's differences"
            )
        study = Plan(
            source.folder, place=plan.place, prompts=plan.prompts, unrelated=plan.unrelated, seed=plan.seed,
            image_encoder=plan.image_encoder, text_encoder=plan.text_encoder,
        )  # fmt: skip
        own = Layout(layout.out / "concepts" / source.name)
        work = Work(study, base, Concept.open(source.folder), own, _Within(progress))
        work.open_encoders(others=False)
        found.append(Member(source, artifact, work))
        for note in artifact.not_used(base):
            progress.note(note)
    for file in plan.beside:
        for note in open_artifact(file).not_used(base):
            progress.note(note)
    if len({member.artifact.method for member in found}) > 1:
        raise TriptychError("the files are of several kinds: give LoRAs alone, or DreamBooth's differences alone")
    return found


def _mixes(
    plan: DilutionPlan, arms: Sequence[Arm], members: Sequence[Member], layout: Layout, progress: Progress
) -> dict[str, Path]:
    """Make the files of all mixes that are missing. Returns arm -> file. A mix is made anew if its files changed."""
    progress.stage("mixing", len(arms))
    hashes, places = [known_hashes(member.source.file).sha256 for member in members], dict[str, Path]()
    for arm in arms:
        if arm.file:
            places[arm.name] = arm.file
            progress.advance()
            continue
        made_from = key(arm.weights, [hashes[i] for i, _ in arm.weights], arm.before)
        path = layout.out / "mixes" / f"{arm.name}-{made_from}" / FILE
        places[arm.name] = path
        if not path.is_file():
            merge(_mix(arm, members, places), path)
        progress.advance()
    return places


def _mix(arm: Arm, members: Sequence[Member], places: Mapping[str, Path]) -> Mix:
    if arm.before:
        last = members[arm.weights[-1][0]].source.file
        return Mix((Ingredient(places[arm.before], 0.5), Ingredient(last, 0.5)), "weighted-sum")
    return Mix(tuple(Ingredient(members[i].source.file, weight) for i, weight in arm.weights), "weighted-sum")


def sheet_of(member: Member, row: str, phrase: str, file: Path | None, role: str = "concept") -> Sheet:
    """The pictures of one row for one concept, on prompts that are the same for all rows."""
    work, word = member.work, member.work.concept.class_word
    prompts = work.prompts if role == "concept" else work.unrelated
    asked = tuple((fill(p.template, word), fill(p.template, phrase), p.seed(work.plan.seed)) for p in prompts)
    seen = known_hashes(file).sha256 if file else ""
    uses = (Use(file, file.parent.name),) if file else ()
    folder = work.layout.sheets / f"{row}-{role}-{key(work.base_key, seen, asked, work.base.description.drawing)}"
    return Sheet(row, 0, "unrelated" if role == "unrelated" else "concept", asked, folder, uses)


def _rows(arms: Sequence[Arm], members: Sequence[Member], files: Mapping[str, Path]) -> list[tuple[Member, Sheet]]:
    """All sheets, in the order in which they are sampled: the files alone first, then arm after arm."""
    found = []
    for member in members:
        found.append((member, sheet_of(member, BASE, member.work.concept.class_word, None)))
        found.append((member, sheet_of(member, ALONE, member.phrase, member.source.file)))
    first = members[0]
    found.append((first, sheet_of(first, BASE, "", None, "unrelated")))
    found.append((first, sheet_of(first, ALONE, "", first.source.file, "unrelated")))
    for arm in arms:
        file = files[arm.name]
        for i, weight in arm.weights:
            if weight:
                found.append((members[i], sheet_of(members[i], arm.name, members[i].phrase, file)))
        found.append((first, sheet_of(first, arm.name, "", file, "unrelated")))
    return found


def _draw(
    plan: DilutionPlan, arms: Sequence[Arm], members: Sequence[Member], files: Mapping[str, Path], progress: Progress
) -> bool:
    """Sample what is missing, until the time is over. Returns whether nothing is missing."""
    ends = time.monotonic() + plan.minutes * 60 if plan.minutes else float("inf")
    missing = [(member, sheet) for member, sheet in _rows(arms, members, files) if not sheet.record]
    progress.stage("sampling", sum(len(sheet.asked) for _, sheet in missing))
    for place, (member, sheet) in enumerate(missing):
        if time.monotonic() > ends:
            left = len(missing) - place
            progress.note(f"the time is over: {counted(left, 'sheet')} not sampled yet; the same again goes on")
            return False
        sample_all(member.work, [sheet])
    return True


def _pictures(member: Member, sheets: Sequence[tuple[Member, Sheet]]) -> list[Shown]:
    own = [sheet for owner, sheet in sheets if owner is member and sheet.record]
    return [picture for sheet in own for picture in sheet.sampled(member.work.layout.out)]


def _measured(
    plan: DilutionPlan, arms: Sequence[Arm], members: Sequence[Member], files: Mapping[str, Path], complete: bool,
    progress: Progress,
) -> Result:  # fmt: skip
    sheets = _rows(arms, members, files)
    progress.stage("measuring pictures", len(members))
    kept, alone, first = list[Kept](), list[File](), list[Preserved]()
    for place, member in enumerate(members):
        evidence = judged(member.work, _pictures(member, sheets))
        progress.advance()
        file = file_alone(member.source.name, evidence)
        alone.append(file)
        if file.learned:
            kept += _kept(place, member, arms, evidence)
        else:
            progress.note(file.why_not)
        if place == 0:
            first = [Preserved(row, value) for row, value in preserved(evidence).items()]
    overlaps = all_overlaps((member.source.name, member.artifact) for member in members)
    return Result.of(plan, arms, alone, kept, first, _nearer(members, sheets), overlaps, complete)


def _kept(place: int, member: Member, arms: Sequence[Arm], evidence: Evidence) -> list[Kept]:
    found = []
    for arm in arms:
        weight, value = dict(arm.weights).get(place), retention(evidence, arm.name)
        if weight and value:
            both = evidence.mean("both", arm.name)
            found.append(Kept(arm.name, member.source.name, weight, value, both.value if both else 0.0))
    return found


def _nearer(members: Sequence[Member], sheets: Sequence[tuple[Member, Sheet]]) -> list[Nearer]:
    """For each file and each other: how far its pictures went towards the other concept, in each mix of both."""
    found = []
    by_row: list[dict[str, list[Shown]]] = []
    for member in members:
        rows: dict[str, list[Shown]] = {}
        for picture in _pictures(member, sheets):
            if picture.role == "concept" and picture.method != BASE:
                rows.setdefault(picture.method, []).append(picture)
        by_row.append(rows)
    for i, mine in enumerate(by_row):
        for j, theirs in enumerate(by_row):
            both = {row: pictures for row, pictures in mine.items() if row == ALONE or row in theirs}
            if i != j and ALONE in mine and ALONE in theirs and len(both) > 1:
                nearer = contamination(members[j].work, both, theirs[ALONE])
                names = members[i].source.name, members[j].source.name
                found += [Nearer(row, *names, value) for row, value in nearer.items()]
    return found
