"""A study of dilution: mixes, pictures, scores, and the page. What is on disk already is reused."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from ..base import Base, Place
from ..files.atomic import write_text
from ..files.hashes import known_sha256
from ..metrics import Shown
from ..mixing.adapters import needs_base
from ..mixing.merge import merge
from ..mixing.overlap import layers_of, overlaps
from ..mixing.request import Ingredient, Mix
from ..scores import BASE
from ..study.layout import Layout, key
from ..study.point import Use
from ..study.progress import Progress
from ..study.sheets import Sheet, asked_for, sample_all, sheet_of
from ..study.work import Work
from ..units import counted
from ..verdict.evidence import Evidence
from .foretold import FEWEST
from .measure import ALONE, File, Kept, contamination, file_alone, judged, kept_more, preserved, retention
from .members import Attached, Member, Uses, attached, members_of, words_with
from .page import write_page
from .plan import Arm, DilutionPlan
from .response import attached_to
from .result import More, Nearer, Preserved, Result
from .whole import as_differences

FILE = "artifact.safetensors"


def dilution(
    plan: DilutionPlan,
    out: Path,
    progress: Progress,
    single: Sequence[Arm] = (),
    opened: Callable[[Place], Base] = Place.open,
) -> Result:
    """Measure what mixes keep of each file, and write dilution.json and dilution.html.

    Args:
        single: mixes of axis "mix" that are measured before those of the plan.
        opened: gives the base of a place.

    Raises:
        TriptychError: bad input, or files that are no changes of weights and no checkpoints.
    """
    layout = Layout(out)
    with layout.locked():
        progress.stage("opening", 1)
        if plan.left_out:
            progress.note(plan.left_out)
        plan, single = as_differences(plan, single, out / "differences", progress.note)
        members = members_of(plan, opened, layout, progress)
        progress.advance()
        arms = [*single, *plan.arms]
        under = _attached(arms, members, _files(plan, arms, members, layout, progress))
        complete = _sample(plan, arms, members, under, progress)
        result = _measured(plan, arms, members, under, complete, progress)
        write_text(out / "dilution.json", result.to_json())
        write_page(result, out)
        return result


def _files(
    plan: DilutionPlan, arms: Sequence[Arm], members: Sequence[Member], layout: Layout, progress: Progress
) -> dict[str, tuple[Path, ...]]:
    """Make the files of all mixes that are missing. A mix is made anew if its files changed.

    Returns:
        Arm -> its own files; none where the files themselves are attached.
    """
    progress.stage("mixing", len(arms))
    hashes, found = [known_sha256(member.source.file) for member in members], dict[str, tuple[Path, ...]]()
    for arm in arms:
        found[arm.name] = arm.files
        if arm.mixed:
            made_from = key(arm.weights, [hashes[i] for i, _ in arm.weights], arm.before)
            path = layout.out / "mixes" / f"{arm.name}-{made_from}" / FILE
            if not path.is_file():
                merge(_mix(plan, arm, members, found), path)
            found[arm.name] = (path,)
        progress.advance()
    return found


def _mix(plan: DilutionPlan, arm: Arm, members: Sequence[Member], files: Mapping[str, tuple[Path, ...]]) -> Mix:
    base = plan.place.source if any(needs_base(member.artifact) for member in members) else ""
    if arm.before:
        last = members[arm.weights[-1][0]].source.file
        return Mix((Ingredient(files[arm.before][0], 0.5), Ingredient(last, 0.5)), "weighted-sum", base)
    return Mix(tuple(Ingredient(members[i].source.file, weight) for i, weight in arm.weights), "weighted-sum", base)


def _attached(
    arms: Sequence[Arm], members: Sequence[Member], files: Mapping[str, tuple[Path, ...]]
) -> dict[str, Attached]:
    """Arm -> what is attached: its own files, or the files themselves, by turns or weakly."""
    usual = [member.says for member in members]

    def themselves(arm: Arm) -> Uses:
        used = [(place, members[place].source.file, weight) for place, weight in arm.weights]
        return tuple(Use(file, known_sha256(file), weight, arm.course(place)) for place, file, weight in used)

    def of(arm: Arm) -> Attached:
        own = files[arm.name]
        says = words_with(own, members) if arm.axis == "beside" and own else usual
        return Attached(attached(*own) or themselves(arm), says)

    return {arm.name: of(arm) for arm in arms}


def _unrelated_sheet(work: Work, row: str, uses: Uses) -> Sheet:
    return sheet_of(work, row, 0, "unrelated", [asked_for(work, prompt, "") for prompt in work.unrelated], uses)


def _rows(arms: Sequence[Arm], members: Sequence[Member], under: Mapping[str, Attached]) -> list[tuple[Member, Sheet]]:
    """All sheets, in the order in which they are sampled: the files alone first, then arm after arm."""
    found = []
    for member in members:
        found += [(member, sheet) for sheet in member.before(member.work.prompts)]
    first = members[0]
    found.append((first, _unrelated_sheet(first.work, BASE, ())))
    found.append((first, _unrelated_sheet(first.work, ALONE, attached(first.source.file))))
    for arm in arms:
        uses, says = under[arm.name].uses, under[arm.name].says
        for place in (place for place, weight in arm.weights if weight):
            member = members[place]
            found.append((member, member.under(arm.name, uses, member.work.prompts, says[place])))
        found.append((first, _unrelated_sheet(first.work, arm.name, uses)))
    return found


def _sample(
    plan: DilutionPlan, arms: Sequence[Arm], members: Sequence[Member], under: Mapping[str, Attached],
    progress: Progress,
) -> bool:  # fmt: skip
    """Sample what is missing, until the time is over. Returns whether nothing is missing."""
    ends = time.monotonic() + plan.minutes * 60 if plan.minutes else float("inf")
    missing = [(member, sheet) for member, sheet in _rows(arms, members, under) if not sheet.record]
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
    plan: DilutionPlan, arms: Sequence[Arm], members: Sequence[Member], under: Mapping[str, Attached], complete: bool,
    progress: Progress,
) -> Result:  # fmt: skip
    sheets = _rows(arms, members, under)
    progress.stage("measuring pictures", len(members))
    kept, alone, first, more = list[Kept](), list[File](), list[Preserved](), list[More]()
    for place, member in enumerate(members):
        evidence = judged(member.work, _pictures(member, sheets), member.encoder)
        progress.advance()
        file = file_alone(member.source.name, evidence)
        alone.append(file)
        if file.learned:
            kept += _kept(place, member, arms, evidence)
            more += _more(member, arms, evidence)
        else:
            progress.note(file.why_not)
        if place == 0:
            first = [Preserved(row, value) for row, value in preserved(evidence).items()]
    if sum(arm.mixed for arm in arms) >= FEWEST:  # enough to foretell one by the others
        kept = _responding(kept, arms, members, under)
    met = overlaps({member.source.name: layers_of(member.artifact, member.source.name) for member in members})
    return Result.of(plan, arms, alone, kept, first, _nearer(members, sheets), met, complete, more)


def _kept(place: int, member: Member, arms: Sequence[Arm], evidence: Evidence) -> list[Kept]:
    """What each mix keeps of a file."""
    found = []
    for arm in arms:
        weight, value = dict(arm.weights).get(place), retention(evidence, arm.name)
        if weight and value:
            both = evidence.mean("both", arm.name)
            found.append(Kept(arm.name, member.source.name, weight, value, both.value if both else 0.0))
    return found


def _responding(
    kept: Sequence[Kept], arms: Sequence[Arm], members: Sequence[Member], under: Mapping[str, Attached]
) -> list[Kept]:
    """The same with how each mix responds. A mix is attached once, for all of its files."""
    asked = {row.file for row in kept}
    probes = {member.source.name: member.probe() for member in members if member.source.name in asked}
    mixed, found = {arm.name for arm in arms if arm.mixed}, dict[tuple[str, str], Kept]()
    for arm in dict.fromkeys(row.arm for row in kept if row.arm in mixed):
        with attached_to(members[0].work.base, under[arm].uses):
            for row in (row for row in kept if row.arm == arm):
                found[arm, row.file] = replace(row, response=probes[row.file].response())
    return [found.get((row.arm, row.file), row) for row in kept]


def _more(member: Member, arms: Sequence[Arm], evidence: Evidence) -> list[More]:
    """What the first single mix keeps more of a file than each of the others."""
    single = [arm.name for arm in arms if arm.axis == "mix"]
    values = ((other, kept_more(evidence, single[0], other)) for other in single[1:])
    return [More(single[0], other, member.source.name, value) for other, value in values if value]


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
                nearer = contamination(members[j].work, both, theirs[ALONE], members[j].encoder)
                names = members[i].source.name, members[j].source.name
                found += [Nearer(row, *names, value) for row, value in nearer.items()]
    return found
