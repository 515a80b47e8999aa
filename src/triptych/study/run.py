"""A whole study, from a plan to a report. Results that are on disk already are reused."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from itertools import zip_longest
from pathlib import Path

from .. import report
from ..base import Base, Place
from ..cancel import check
from ..data.checking import brief
from ..data.pictures import read_picture
from ..data.summary import count, summary
from ..exchange.formats import formats, open_artifact
from ..exchange.recipes import STRENGTH
from ..exchange.saving import save
from ..files.atomic import replacing, shortened, write_text
from ..files.library import write_sidecar
from ..methods import Training, method_named
from ..records import PointsRecord
from ..sampling.recipe import TAGS
from ..scores import Cost, Score
from ..settings import line as settings_line
from ..training.reading import reading_of
from ..verdict import Look, Verdict, further, judge
from ..verdict.words import titled
from . import plan as plans
from .choosing import choose_points
from .costs import costs_of
from .deciding import Clock, before, deciding, end, stages
from .layout import Layout
from .measuring import by_all_encoders, by_others, measured
from .plan import Plan
from .point import FULL, Point
from .points import points_of
from .prior import as_prior
from .processes import prepare
from .progress import Progress
from .sheets import sample_all, seconds_a_picture, sheets
from .together import cost_together, failures_together, together
from .training import Run, runs, train_all
from .work import Work, worker
from .workers import workers_on

WHOLE = "the study judges by whole pictures: of one that is no square, by its middle and both ends"
THUMB = 192  # pixels, the larger side of a training picture in the report


def run(plan: Plan, out: Path, progress: Progress, opened: Callable[[Place], Base] = Place.open) -> Verdict:
    """Run the stages of the study that are missing, and compute the verdict. `opened` gives the base of a place.

    Raises:
        TriptychError: bad input, or nothing could be trained.
    """
    layout, clock = Layout(out), Clock.of(plan)
    concept = plan.concept()
    with layout.locked():
        prepare()
        progress.stage("opening", 1)
        work = Work(plan, opened(plan.place), concept, layout, progress)
        with workers_on(work.base, progress, worker, plan, concept, layout, other=lambda: work.other) as work.workers:
            return _run(work, clock)


def _run(work: Work, clock: Clock) -> Verdict:
    plan, concept, out, progress = work.plan, work.concept, work.layout.out, work.progress
    work.open_encoders()
    if work.other:
        progress.note(f"portability is measured on {work.other.name}")
    plans.write(plan, out, work.base, concept, work.encoders.told)
    for line in (
        *summary(concept),
        *brief(concept, work.base.resolution),
        *plan.unused_prompts(stages(plan, work.budget)[-1].prompts),
        *_settings(work),
    ):
        progress.note(line)
    if concept.digest in plan.tuning.concepts:
        progress.note("the settings were tuned on these very pictures: what is measured of them here is too good")
    thumbs(work)
    progress.advance()
    wanted = runs(work)
    for line in _prepared(work, wanted):
        progress.note(line)
    train_all(work, wanted)
    trained = [training for training in wanted if training.done]
    known = PointsRecord.read(out) if (out / PointsRecord.NAME).is_file() else None
    chosen = _chosen(work, trained)
    points = points_of(chosen.points)
    verdict = _decided(work, wanted, points, clock)
    write_text(work.layout.verdict, verdict.to_json())
    plans.write(plan, out, work.base, concept, work.encoders.told, deciding_command(plan, verdict, out))
    _export(work, trained, points)
    report.build(out)
    if chosen.seconds and chosen != known:
        share = chosen.seconds / (time.monotonic() - clock.began)
        progress.note(f"choosing strengths and moments took {share:.0%} of the time of this study")
    if not_used := count(concept):
        progress.note(not_used)
    return verdict


def deciding_command(plan: Plan, verdict: Verdict, out: Path) -> str:
    """The command that goes on until what is open is decided; empty where nothing is, or nothing would decide it."""
    if not (more := further(verdict)):
        return ""
    return deciding(plan, more).command_with(out=out)


def _chosen(work: Work, trained: Sequence[Run]) -> PointsRecord:
    """The points, by prompts that no look reports. They hold for all looks."""
    last = stages(work.plan, work.budget)[-1]
    return choose_points(work.at(last.prompts, last.unrelated), trained)


def _decided(work: Work, wanted: Sequence[Run], points: Mapping[str, Point], clock: Clock) -> Verdict:
    """The verdict of the last look: of the only one, or of that at which the study is decided or has to end."""
    ahead = stages(work.plan, work.budget)
    looks = before(work.layout.verdict, ahead)
    for stage, later in zip_longest(ahead, ahead[1:]):
        looks = (*looks, stage.look)
        verdict = _judged(work.at(stage.prompts, stage.unrelated), wanted, points, looks)
        if later is None:
            break
        if ends := end(verdict, stage, later, clock):
            work.progress.note(ends)
            break
        work.progress.note(f"not decided after {stage.prompts} prompts: going on to {later.prompts}")
    return verdict


def _judged(work: Work, wanted: Sequence[Run], points: Mapping[str, Point], looks: Sequence[Look]) -> Verdict:
    """Sample what is missing, measure it, and judge all of it."""
    plan, trained = work.plan, [training for training in wanted if training.done]
    sampled = sheets(work, [*trained, *together(plan.together_on(work.base), trained)], points)
    sample_all(work, sampled)
    check()
    work.progress.stage("measuring pictures", 1)
    scores = measured(work, sampled)
    work.progress.advance()
    sampling = seconds_a_picture(sampled)
    costs = [replace(cost, seconds_a_picture=sampling.get(cost.method)) for cost in _costs(work, trained)]

    def judged(scores: Sequence[Score]) -> Verdict:
        return judge(
            scores, costs, need=plan.need, failures=_failures(work, wanted), seed=plan.seed, strata=work.strata,
            prior=as_prior(plan.trainings_on(work.base)), looks=looks,
        )  # fmt: skip

    with titled({name: method_named(name).title for name in plan.chosen}):
        return by_all_encoders(scores, by_others(work, sampled, scores), judged)


def _prepared(work: Work, wanted: Sequence[Run]) -> list[str]:
    """Lines on how the pictures of the first training that is missing are framed, weighed and varied."""
    missing = next((each for each in wanted if not each.done), None)
    if missing is None:
        return []
    return [*work.examples(missing.train).notes, *([WHOLE] if work.encoders.whole else [])]


def _settings(work: Work) -> list[str]:
    """One line per method with its settings, and one on captions that are too long."""
    settings = {name: work.plan.settings_of(name, work.base, work.concept) for name in work.plan.chosen}
    captions = work.concept.templates(work.base.description.captions[work.concept.kind])
    names = [picture.name for picture in work.concept.pictures]
    readings = [
        reading_of(work.base, name, chosen, work.concept.class_word, captions, names, work.plan.pictures.caption_chunks)
        for name, chosen in settings.items()
        if isinstance(chosen, Training)
    ]
    longest = max(readings, key=lambda reading: sum(cut.tokens for cut in reading.cut), default=None)
    cut = str(longest) if longest else ""
    return [*([cut] if cut else []), *(settings_line(name, chosen) for name, chosen in settings.items())]


def _costs(work: Work, trained: Sequence[Run]) -> list[Cost]:
    alone = costs_of(work, trained)
    combined = (cost_together(name, alone) for name in work.plan.together_on(work.base))
    return [*alone, *(cost for cost in combined if cost)]


def _failures(work: Work, wanted: Sequence[Run]) -> dict[str, str]:
    failures = {training.method: training.failure for training in wanted if training.failure}
    return failures | failures_together(work.plan.together_on(work.base), failures)


def thumbs(work: Work) -> None:
    """Write the concept's pictures, small, for the report."""
    for i, picture in enumerate(work.concept.pictures):
        path = work.layout.thumbs / f"{i:03}.png"
        if not path.is_file():
            thumb = read_picture(picture.path)
            thumb.thumbnail((THUMB, THUMB))
            with replacing(path) as temporary:
                thumb.save(temporary, "png")


def _export(work: Work, trained: Sequence[Run], points: Mapping[str, Point]) -> None:
    """Write the first training of each method to `artifacts/`, in the layouts that other programs load.

    The tensors are those of the chosen moment. The chosen strength is in the file's metadata, and for A1111 beside it.
    """
    for training in reversed(trained):
        point, title = points.get(training.method), f"{shortened(work.concept.name)}-{training.method}"
        artifact = open_artifact(training.at((point or FULL).moment))
        if point:
            origin = {**artifact.provenance, STRENGTH: f"{point.strength:g}"}
            artifact = replace(artifact, provenance=origin)
        for name in artifact.kind.exports_as:
            path = work.layout.artifacts / f"{title}{formats()[name].suffixes[0]}"
            save(artifact, path, to=name, base=work.base, title=title)
            if point and artifact.method in TAGS:
                write_sidecar(path, point.strength, artifact.provenance["says"])
