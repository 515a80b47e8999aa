"""A whole study, from a plan to a report. Results that are on disk already are reused."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

from .. import report
from ..base import Base, Place
from ..cancel import check
from ..data.checking import brief
from ..data.pictures import read_picture
from ..data.summary import count, summary
from ..exchange.formats import formats, open_artifact
from ..exchange.saving import save
from ..files.atomic import replacing, shortened, write_text
from ..methods import Training, method_named
from ..metrics import measure, metrics
from ..scores import Cost, Score, read_scores, write_scores
from ..settings import line as settings_line
from ..training.reading import reading_of
from ..verdict import Verdict, judge
from ..verdict.words import titled
from . import plan as plans
from .costs import costs_of, prepare
from .drawing import Sheet, draw_all, pictures, sheets
from .layout import Layout, key
from .plan import Plan
from .progress import Progress
from .together import cost_together, failures_together, together
from .training import Run, runs, train_all
from .work import MEASURING, Work

THUMB = 192  # pixels, the larger side of a training picture in the report


def run(plan: Plan, out: Path, progress: Progress, opened: Callable[[Place], Base] = Place.open) -> Verdict:
    """Run the stages of the study that are missing, and compute the verdict. `opened` gives the base of a place.

    Raises:
        TriptychError: bad input, or nothing could be trained.
    """
    layout = Layout(out)
    concept = plan.concept()
    with layout.locked():
        progress.stage("opening", 1)
        work = Work(plan, opened(plan.place), concept, layout, progress)
        _ = work.judges  # opened first, so that a missing encoder stops the study at once
        if work.other:
            progress.note(f"what carries over is drawn on {work.other.name}")
        plans.write(plan, out, work.base, concept)
        for line in (
            *summary(concept),
            *brief(concept, work.base.resolution),
            *plan.unused_prompts(work.base),
            *_settings(work),
        ):
            progress.note(line)
        if concept.digest in plan.tuning.concepts:
            progress.note("the settings were tuned on these very pictures: what is measured of them here is too good")
        _thumbs(work)
        progress.advance()
        wanted = runs(work)
        prepare()
        train_all(work, wanted)
        trained = [training for training in wanted if training.done]
        drawn = sheets(work, [*trained, *together(work.plan.together_on(work.base), trained)])
        draw_all(work, drawn)
        check()
        progress.stage("measuring pictures", 1)
        scores = _scores(work, drawn)
        progress.advance()
        drawing = {sheet.method: sheet.seconds_a_picture for sheet in drawn}
        costs = [replace(cost, seconds_a_picture=drawing.get(cost.method)) for cost in _costs(work, trained)]
        with titled({name: method_named(name).title for name in plan.chosen}):
            verdict = judge(
                scores, costs, need=plan.need, failures=_failures(work, wanted), seed=plan.seed, strata=work.strata
            )
        write_text(layout.verdict, verdict.to_json())
        _export(work, trained)
        report.build(out)
        if not_used := count(concept):
            progress.note(not_used)
        return verdict


def _settings(work: Work) -> list[str]:
    """One line per method with its settings, and one on captions that are too long."""
    settings = {name: work.plan.settings_of(name, work.base, work.concept) for name in work.plan.chosen}
    captions = work.concept.templates(work.base.description.captions[work.concept.kind])
    names = [picture.name for picture in work.concept.pictures]
    readings = [
        reading_of(work.base, name, chosen, work.concept.class_word, captions, names)
        for name, chosen in settings.items()
        if isinstance(chosen, Training)
    ]
    longest = max(readings, key=lambda reading: sum(cut.tokens for cut in reading.cut), default=None)
    cut = str(longest) if longest else ""
    return [*([cut] if cut else []), *(settings_line(name, chosen) for name, chosen in settings.items())]


def _scores(work: Work, drawn: Sequence[Sheet]) -> list[Score]:
    """The scores, measured once per input: the last digits of an encoder's output differ between runs."""
    shown = pictures(work, drawn)
    seen = sha256(b"".join(sha256(picture.path.read_bytes()).digest() for picture in shown)).hexdigest()
    judges = [judge.digest if judge else "" for judge in work.judges]
    made_from = key(MEASURING, seen, work.concept.digest, judges, sorted(metrics()))
    record = work.layout.scores.with_suffix(".key")
    if work.layout.scores.is_file() and record.is_file() and record.read_text() == made_from:
        return read_scores(work.layout.scores)
    scores = measure(work.evidence(shown))
    write_scores(work.layout.scores, scores)
    write_text(record, made_from)
    return scores


def _costs(work: Work, trained: Sequence[Run]) -> list[Cost]:
    alone = costs_of(work, trained)
    combined = (cost_together(name, alone) for name in work.plan.together_on(work.base))
    return [*alone, *(cost for cost in combined if cost)]


def _failures(work: Work, wanted: Sequence[Run]) -> dict[str, str]:
    failures = {training.method: training.failure for training in wanted if training.failure}
    return failures | failures_together(work.plan.together_on(work.base), failures)


def _thumbs(work: Work) -> None:
    for i, picture in enumerate(work.concept.pictures):
        path = work.layout.thumbs / f"{i:03}.png"
        if not path.is_file():
            thumb = read_picture(picture.path)
            thumb.thumbnail((THUMB, THUMB))
            with replacing(path) as temporary:
                thumb.save(temporary, "png")


def _export(work: Work, trained: Sequence[Run]) -> None:
    """Write the first training of each method to `artifacts/`, in the layouts that other programs load."""
    for training in reversed(trained):
        artifact, title = open_artifact(training.artifact), f"{shortened(work.concept.name)}-{training.method}"
        for name in artifact.kind.exports_as:
            path = work.layout.artifacts / f"{title}{formats()[name].suffixes[0]}"
            save(artifact, path, to=name, base=work.base, title=title)
