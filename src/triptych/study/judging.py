"""Judges files by anybody on the yardstick of a study: a row for each file at each strength, and no training.

The sheets are those of a study, under keys of their content. So files can be added to a folder of judged files, and a
stopped run goes on. Which file to keep is decided in `verdict.keeping`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from .. import report
from ..base import Place
from ..data.summary import count, summary
from ..errors import Remedy, TriptychError
from ..files.atomic import write_text
from ..records import JudgedFile, JudgedRecord
from ..scores import BASE, Score
from ..shell import command_line
from ..verdict import Need, Verdict, judge
from ..verdict.keeping import Kept, keeping
from ..verdict.words import titled
from .drawing import Sheet, draw_on, reseeded, sheets_of
from .judged import File, open_files
from .layout import Layout
from .plan import FILE, Plan, described, save
from .point import Use
from .progress import Progress
from .run import measured, thumbs
from .work import Work

SEEN = (
    "Whether the files were trained on pictures of this folder is not known. A file that has seen the held-out ones"
    " reaches more likeness than a study would give it."
)

NO_SCALE = "The base already draws the pictures by their class word, so nothing can be told by them."


@dataclass(frozen=True)
class JudgeRequest:
    """The files, the pictures and the base. An empty value stands for the default of the folder or of the base.

    Attributes:
        strengths: at which each file is judged; empty: the one that its notes prefer, else 1.
        says: file, as given or by its name -> the words that call it.
        prompts, unrelated: numbers of prompts with the concept and without it; 0: those of the quick budget.
    """

    files: tuple[Path, ...]
    folder: Path
    place: Place = field(default_factory=Place)
    strengths: tuple[float, ...] = ()
    says: Mapping[str, str] = field(default_factory=dict)
    prompts: int = 0
    unrelated: int = 0
    kind: str = ""
    class_word: str = ""
    token: str = ""
    need: Need = "fidelity"
    seed: int = 0
    image_encoder: str = ""
    text_encoder: str = ""

    @property
    def plan(self) -> Plan:
        """A study of these pictures without methods."""
        return Plan(
            self.folder, self.place, self.kind, self.class_word, self.token, budget="quick", need=self.need,
            seed=self.seed, image_encoder=self.image_encoder, text_encoder=self.text_encoder, prompts=self.prompts,
            unrelated=self.unrelated, points=False,
        )  # fmt: skip


@dataclass(frozen=True)
class Judgement:
    """The verdict, and what to do with each file, the best first."""

    verdict: Verdict
    record: JudgedRecord


def judge_files(request: JudgeRequest, out: Path, progress: Progress) -> Judgement:
    """Sample, measure and judge the files that are not yet, and write the page.

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
        work = Work(plan, plan.place.open(), concept, layout, progress)
        _ = work.judges
        files = open_files(request.files, request.strengths, request.says, work.base, concept, note)
        for line in (*summary(concept), *plan.unused_prompts(work.base)):
            progress.note(line)
        thumbs(work)
        drawn = _draw(work, files)
        progress.stage("measuring pictures", 1)
        scores = measured(work, drawn)
        titles = {file.row(strength): file.title(strength) for file in files for strength in file.strengths}
        with titled(titles):
            judgement = _judgement(work, files, scores, notes)
        save(out / FILE, described(plan, work.base, concept, command_of(request, out), titles))
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


def _draw(work: Work, files: Sequence[File]) -> list[Sheet]:
    """Sample what is missing: the bare base first, then each file at each strength."""
    word = work.concept.class_word
    bare = [*sheets_of(work, BASE, 0, word, ()), reseeded(work)]
    own = [
        (file, strength, list(sheets_of(work, file.row(strength), 0, file.says, (_use(file, strength),))))
        for file in files
        for strength in file.strengths
    ]
    every = [*bare, *(sheet for _, _, sheets in own for sheet in sheets)]
    work.progress.stage("drawing", sum(len(sheet.asked) for sheet in every if not sheet.record))
    if missing := [sheet for sheet in bare if not sheet.record]:
        draw_on(work, work.base, (), missing)
    for file, strength, sheets in own:
        if missing := [sheet for sheet in sheets if not sheet.record]:
            base = replace(work.plan.place, source=str(file.path)).open() if file.is_base else work.base
            draw_on(work, base, () if file.is_base else (_use(file, strength),), missing)
    return every


def _use(file: File, strength: float) -> Use:
    return Use(file.path, file.digest, strength)


def _judgement(work: Work, files: Sequence[File], scores: Sequence[Score], notes: Sequence[str]) -> Judgement:
    costs = [file.cost(strength) for file in files for strength in file.strengths]
    plan = work.plan
    verdict = judge(scores, costs, need=plan.need, seed=plan.seed, strata=work.strata)
    verdict = _without_training(replace(verdict, answers={}, notes=(*verdict.notes[1:], SEEN)))
    rows = {file.row(strength): (file, strength) for file in files for strength in file.strengths}
    kept = keeping(scores, costs, seed=plan.seed) or [Kept(row, "undecided", NO_SCALE) for row in rows]
    found = tuple(_judged(each, *rows[each.method]) for each in kept)
    return Judgement(verdict, JudgedRecord(found, tuple(notes)))


def _without_training(verdict: Verdict) -> Verdict:
    """The verdict without what more trainings would decide: nothing is trained here."""
    chosen = verdict.recommendation
    by_need = {need: replace(choice, would_change="") for need, choice in chosen.by_need.items()}
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
    words = ["triptych", "judge", *map(str, request.files), "--folder", str(request.folder), "--out", str(out)]
    strengths = ",".join(f"{one:g}" for one in request.strengths)
    own = {"strengths": (strengths, ""), "need": (request.need, "fidelity"), "seed": (request.seed, 0)}
    for flag, (value, usual) in {**request.plan.flags, **own}.items():
        words += [f"--{flag}", str(value)] if value != usual else []
    for name, text in request.says.items():
        words += ["--say", f"{name}={text}"]
    return command_line([*words, *(["--ema"] if request.place.ema else [])])
