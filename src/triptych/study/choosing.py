"""The stage that chooses the strength and the moment at which each method is sampled.

The prompts are those that no study reports. With several trainings of a method they are dealt out to the trainings, so
that choosing costs as much as with one, and all of them have a say. A combination is tried after its parts, with each
part at its own point; its strength multiplies theirs.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from math import ceil

from ..metrics import Shown, metrics
from ..records import PointRecord, PointsRecord
from ..scores import BASE
from ..verdict import MARGINS
from ..verdict.evidence import PROMPT, SUBJECT, Evidence, headline
from .layout import key
from .point import Point
from .points import Asked, Row, Seen, Tried, points_of
from .prompts import Prompt
from .sheets import Sheet, asked_for, pending, sample_small, sheet_of, unfinished
from .together import Together, together
from .training import Run
from .work import MEASURING, Work
from .yardstick import CRITERIA

CHOOSING = 2  # raise it when the rule of choosing changes
NONE = PointsRecord("", ())


def choose_points(work: Work, trained: Sequence[Run]) -> PointsRecord:
    """Choose a point for every trained method and combination, or take the choice of an earlier run of the study."""
    if not work.budget.choosing or not trained:
        return NONE
    if not work.choosing:
        work.progress.note("no prompt is left to choose strengths by, so every file is used as it was trained")
        return NONE
    made_from = _made_from(work, trained)
    if (work.layout.out / PointsRecord.NAME).is_file():
        known = PointsRecord.read(work.layout.out)
        if known.key == made_from:
            return known
    began, chooser = time.perf_counter(), Chooser(work)
    records = chooser.choose(_singles(work, trained), {})
    if not records:
        work.progress.note("the base already draws the pictures by their class word: no strength can be chosen by them")
        return NONE
    records += chooser.choose(_combinations(work, trained), points_of(records))
    record = PointsRecord(made_from, tuple(records), time.perf_counter() - began)
    record.write(work.layout.out)
    return record


def _made_from(work: Work, trained: Sequence[Run]) -> str:
    """The key of everything that the choice depends on."""
    asked = [asked_for(work, prompt, work.concept.class_word) for prompt in work.choosing]
    rows = [
        [
            row.name,
            [use.label for member in row.members for point in row.points for use in member.uses({row.name: point})],
        ]
        for row in (*_singles(work, trained), *_combinations(work, trained))
    ]
    sampling, concept = work.base.description.sampling.decides, work.concept.digest
    return key(CHOOSING, MEASURING, CRITERIA, work.base_key, sampling, concept, work.encoders.key, asked, rows)


def _singles(work: Work, trained: Sequence[Run]) -> list[Row]:
    runs = {name: [run for run in trained if run.method == name] for name in dict.fromkeys(r.method for r in trained)}
    return [Row(name, tuple(own), tuple(_points(work, _moments(work, own)))) for name, own in runs.items()]


def _moments(work: Work, runs: Sequence[Run]) -> list[float]:
    """The moments that all of these trainings kept, and the end."""
    kept = [moment for moment in work.budget.moments if moment < 1 and all(run.at(moment).is_file() for run in runs)]
    return [*kept, 1.0]


def _combinations(work: Work, trained: Sequence[Run]) -> list[Row]:
    rows: dict[str, list[Together]] = {}
    for combination in together(work.plan.together_on(work.base), trained):
        rows.setdefault(combination.method, []).append(combination)
    return [Row(name, tuple(own), tuple(_points(work, [1.0]))) for name, own in rows.items()]


def _points(work: Work, moments: Iterable[float]) -> list[Point]:
    strengths = sorted({*work.budget.strengths, 1.0})
    return [Point(strength, moment) for moment in moments for strength in strengths]


@dataclass
class Chooser:
    """Samples points and measures them."""

    work: Work

    @cached_property
    def bare(self) -> Sheet:
        """The bare base's pictures of all choosing prompts: 0 on the scale of fidelity."""
        word = self.work.concept.class_word
        return sheet_of(self.work, BASE, 0, "choose", [asked_for(self.work, p, word) for p in self.work.choosing], ())

    def choose(self, rows: Sequence[Row], parts: Mapping[str, Point]) -> list[PointRecord]:
        """The points of every row; none where the base already draws the concept.

        `parts`: the points of the methods that combinations are made of.
        """
        tried, prompts = [Tried(row) for row in rows], self.work.choosing
        half = ceil(len(prompts) / 2)
        for some in (prompts[:half], prompts[half:]):
            if some and rows and not self._try(tried, some, parts):
                return []
        return [record for each in tried if each.seen for record in each.records()]

    def _try(self, tried: Sequence[Tried], prompts: Sequence[Prompt], parts: Mapping[str, Point]) -> bool:
        """Sample the points that are going on, on some prompts. Returns whether anything can be told by them."""
        out, wanted = self.work.layout.out, dict[tuple[str, Point], list[Sheet]]()
        for each in tried:
            for point in each.going:
                wanted[each.row.name, point] = self._sheets(each.row, point, prompts, parts)
        every = [self.bare, *(sheet for sheets in wanted.values() for sheet in sheets)]
        self.work.progress.stage("choosing strengths", pending(unfinished(every)))
        sample_small(self.work, every)
        labels = {place: f"{place[0]} {place[1]}" for place in wanted}
        pictures = [self._as(BASE, picture) for picture in self.bare.sampled(out)]
        pictures += [
            self._as(labels[place], p) for place, sheets in wanted.items() for s in sheets for p in s.sampled(out)
        ]
        seen = self._measured(pictures)
        rows = {each.row.name: each for each in tried}
        for (name, point), label in labels.items():
            if label in seen:
                rows[name].seen.setdefault(point, {}).update(seen[label])
        return bool(seen)

    def _as(self, label: str, picture: Shown) -> Shown:
        return replace(picture, method=label, role="concept")

    def _sheets(self, row: Row, point: Point, prompts: Sequence[Prompt], parts: Mapping[str, Point]) -> list[Sheet]:
        """The prompts at one point, dealt out to the row's trainings."""
        found = []
        for i, member in enumerate(row.members):
            phrase = member.phrase(self.work.concept)
            asked = [asked_for(self.work, prompt, phrase) for prompt in prompts[i :: len(row.members)]]
            if asked:
                uses = member.uses({**parts, row.name: point})
                found.append(sheet_of(self.work, member.method, member.replicate, "choose", asked, uses))
        return found

    def _measured(self, pictures: Sequence[Shown]) -> dict[str, dict[Asked, Seen]]:
        """Label -> picture -> what it reaches; empty where the base already draws the concept."""
        evidence = self.work.evidence(pictures)
        scores = {name: list(metrics()[name].measure(evidence)) for name in CRITERIA}
        every = [score for some in scores.values() for score in some]
        anchors = Evidence.of(every, [], {}, MARGINS, self.work.plan.seed).anchors
        if not anchors.usable or anchors.floor is None:
            return {}
        floor, gap = anchors.floor.value, anchors.gap
        prompts = {(score.method, score.prompt, score.seed): score.value for score in scores[PROMPT]}
        likeness = {(score.method, score.prompt, score.seed): score.value for score in scores[SUBJECT]}
        found: dict[str, dict[Asked, Seen]] = {}
        for score in headline(scores[SUBJECT], scores[PROMPT], floor, gap):
            place = (score.method, score.prompt, score.seed)
            seen = Seen(score.value, (likeness[place] - floor) / gap, prompts.get(place))
            found.setdefault(score.method, {})[score.prompt, score.seed or 0] = seen
        return found
