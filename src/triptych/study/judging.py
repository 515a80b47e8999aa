"""Judges files by anybody on the yardstick of a study: a row for each file at each strength, and no training.

The sheets are those of a study, under keys of their content. So files can be added to a folder of judged files, and a
stopped run goes on. Which file to keep is decided in `verdict.keeping`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from .. import report
from ..base import Base, Place
from ..data.summary import count, summary
from ..errors import Remedy, TriptychError
from ..files.atomic import write_text
from ..options import StudyOptions, words_of
from ..records import JudgedFile, JudgedRecord
from ..scores import BASE, Score
from ..shell import command_line
from ..verdict import Verdict, judge
from ..verdict.keeping import Kept, beside_encoder, keeping
from ..verdict.words import titled
from .judged import File, open_files
from .layout import Layout
from .measuring import by_all_encoders, by_others, measured
from .plan import FILE, Plan, described, save
from .point import Use
from .progress import Progress
from .run import thumbs
from .sheets import Sheet, missing_of, pending, reseeded, sample_on, sheets_of, unfinished
from .work import Work, worker
from .workers import Task, workers_on

OF_STUDIES = (  # options that judging files has no use for
    "pictures", "methods", "budget", "replicates", "together", "points", "tuned", "settings", "other_base",
    "prior", "until_decided", "at_most_pictures", "at_most_minutes",
)  # fmt: skip

SEEN = (
    "Whether the files were trained on pictures of this folder is not known. A file that has seen the held-out ones"
    " reaches more likeness than a study would give it."
)

NO_SCALE = "The base already draws the pictures by their class word, so nothing can be told by them."


@dataclass(frozen=True)
class JudgeRequest:
    """The files, the pictures, and what a study of them is asked for.

    Attributes:
        options: those of the base, of the words, of the prompts, of the encoders, the need and the seed. The numbers of
            prompts are by default those of the budget "quick".
        strengths: at which each file is judged; empty: the one that its notes prefer, else 1.
        says: file, as given or by its name -> the words that call it.

    Raises:
        TriptychError: an option is given that is for studies alone (`OF_STUDIES`).
    """

    files: tuple[Path, ...]
    folder: Path
    options: StudyOptions = field(default_factory=StudyOptions)
    strengths: tuple[float, ...] = ()
    says: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        usual = StudyOptions()
        for name in OF_STUDIES:
            if getattr(self.options, name) != getattr(usual, name):
                raise TriptychError(f"{name.replace('_', ' ')} is an option of a study; judging files trains nothing")

    @property
    def plan(self) -> Plan:
        """A study of these pictures without methods."""
        return Plan.of(self.folder, replace(self.options, budget="quick", points=False))


@dataclass(frozen=True)
class Judgement:
    """The verdict, and what to do with each file, the best first."""

    verdict: Verdict
    record: JudgedRecord


def judge_files(
    request: JudgeRequest, out: Path, progress: Progress, opened: Callable[[Place], Base] = Place.open
) -> Judgement:
    """Sample, measure and judge the files that are not yet, and write the page. `opened` gives the base of a place.

    A checkpoint is a base of its own. It is opened for its pictures alone.

    Raises:
        TriptychError: bad input, or a file is for another kind of base. All files are checked before any is sampled.
    """
    layout, plan, notes = Layout(out), request.plan, list[str]()
    concept = plan.concept()

    def note(sentence: str) -> None:
        notes.append(sentence)
        progress.note(sentence)

    with layout.locked():
        _check_place(out)
        progress.stage("opening", 1)
        work = Work(plan, opened(plan.place), concept, layout, progress)
        work.open_encoders()
        files = open_files(request.files, request.strengths, request.says, work.base, concept, note)
        for line in (*summary(concept), *plan.unused_prompts(work.budget.prompts)):
            progress.note(line)
        thumbs(work)
        with workers_on(work.base, progress, worker, plan, concept, layout) as work.workers:
            sheets = _sample(work, files)
        progress.stage("measuring pictures", 1)
        scores = measured(work, sheets)
        titles = {file.row(strength): file.title(strength) for file in files for strength in file.strengths}
        with titled(titles):
            judgement = _judgement(work, files, sheets, scores, notes)
        save(out / FILE, described(plan, work.base, concept, command_of(request, out), titles, work.encoders.told))
        write_text(layout.verdict, judgement.verdict.to_json())
        judgement.record.write(out)
        report.build(out)
        if not_used := count(concept):
            progress.note(not_used)
        return judgement


def _check_place(out: Path) -> None:
    """
    Raises:
        TriptychError: the folder holds a study.
    """
    if (out / "trials").exists():
        raise TriptychError(f"{out} holds a study", Remedy.OTHER_PLACE)


def _sample(work: Work, files: Sequence[File]) -> list[Sheet]:
    """Sample what is missing: the bare base, and each file at each strength."""
    word = work.concept.class_word
    bare = [*sheets_of(work, BASE, 0, word, ()), reseeded(work)]
    own = [
        (file, list(sheets_of(work, file.row(strength), 0, file.says, (Use(file.path, file.digest, strength),))))
        for file in files
        for strength in file.strengths
    ]
    every = [*bare, *(sheet for _, sheets in own for sheet in sheets)]
    work.progress.stage("sampling", pending(missing_of(work, every)))
    asked = [("", bare), *((str(file.path) if file.is_base else "", sheets) for file, sheets in own)]
    missing = [(source, unfinished(sheets)) for source, sheets in asked]
    work.share([Task(_sample_file, (source, some), pending(some)) for source, some in missing if some])
    return every


def _sample_file(work: Work, source: str, wanted: Sequence[Sheet]) -> None:
    """Sample the sheets of one file at one strength. `source`: the file, where it is a base of its own."""
    if source:
        sample_on(work, replace(work.plan.place, source=source).open(), (), wanted)
    else:
        sample_on(work, work.base, wanted[0].uses, wanted)


def _judgement(
    work: Work, files: Sequence[File], sheets: Sequence[Sheet], scores: Sequence[Score], notes: Sequence[str]
) -> Judgement:
    costs = [file.cost(strength) for file in files for strength in file.strengths]
    plan = work.plan

    def judged(by_encoder: Sequence[Score]) -> Verdict:
        verdict = judge(by_encoder, costs, need=plan.need, seed=plan.seed, strata=work.strata)
        return _without_training(replace(verdict, answers={}, notes=(*verdict.notes[1:], SEEN)))

    others = by_others(work, sheets, scores)
    verdict = by_all_encoders(scores, others, judged)
    rows = {file.row(strength): (file, strength) for file in files for strength in file.strengths}
    kept = keeping(scores, costs, seed=plan.seed) or [Kept(row, "undecided", NO_SCALE) for row in rows]
    for name, theirs in others.items():
        kept = beside_encoder(kept, keeping(theirs, costs, seed=plan.seed), name)
    found = tuple(_judged(each, *rows[each.method]) for each in kept)
    return Judgement(verdict, JudgedRecord(found, tuple(notes)))


def _without_training(verdict: Verdict) -> Verdict:
    """The verdict without what more trainings would decide: nothing is trained here."""
    chosen = verdict.recommendation
    by_need = {need: replace(choice, would_change="", further=None) for need, choice in chosen.by_need.items()}
    recommendation = replace(chosen, choice=by_need[chosen.need], by_need=by_need)
    return replace(
        verdict,
        recommendation=recommendation,
        differences=tuple(replace(difference, needed="") for difference in verdict.differences),
    )


def _judged(kept: Kept, file: File, strength: float) -> JudgedFile:
    return JudgedFile(kept.method, file.path.name, file.method, strength, file.says, kept.decision, kept.reason)


def command_of(request: JudgeRequest, out: Path) -> str:
    """The command that judges these files again."""
    strengths = ",".join(f"{strength:g}" for strength in request.strengths)
    own = [("folder", str(request.folder)), ("out", str(out)), *([("strengths", strengths)] if strengths else [])]
    own += [("say", f"{name}={text}") for name, text in request.says.items()]
    words = [word for name, value in own for word in (f"--{name}", value)]
    return command_line(["triptych", "judge", *map(str, request.files), *words, *words_of(request.options)])
