"""Trains many jobs: joint where they fit, each to a file, with one page of their curves and pictures.

The same call goes on where it was stopped. A job that fails is a row with its reason, and the others go on.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from itertools import chain
from pathlib import Path
from typing import Any

from ..base import Base, Place
from ..data.concept import Concept
from ..data.examples import PLAIN, Examples
from ..data.framing import acting
from ..data.summary import summary
from ..errors import TriptychError, first_line
from ..exchange.artifact import Artifact
from ..exchange.formats import open_artifact
from ..exchange.saving import save
from ..files.atomic import shortened
from ..methods import Training, method_named
from ..options import StudyOptions
from ..records import Log, TrialRecord
from ..report.sweep import Judged, Row, write_page
from ..study.layout import Layout, key
from ..study.processes import rows_of_a_pass
from ..study.progress import steps_of
from ..study.training import provenance
from ..study.workers import Task, Workers, share, workers_on
from ..training.fit import Fitted, Trial, fit, fits
from ..training.loop import Stopped
from ..training.moments import Moment
from ..training.sharing import fitting_passes, joint_passes, rows_of_all_steps
from ..units import counted, size
from .board import At, Board, in_worker
from .grid import Wanted, for_each_concept, names
from .presets import Preset
from .remarks import remarks_on, schedule_remark
from .sweep_judged import judge_jobs
from .sweep_pictures import Sampled, sample_jobs

PAGE = "sweep.html"


@dataclass(frozen=True)
class SweepRequest:
    """Jobs, and the base they train on. A folder that shows several concepts has a job for each.

    Args:
        words: arguments of `Concept.open`: kind, class_word, token, only.
        most_rows: most rows of a joint step; None: the base's own number, or as many as `memory` holds.
        memory: bytes that training may take. A step is cut into passes that fit.
        hold_out: whether a part of the pictures is kept from training, to compute the fixed-batch loss on.
        preset: of the base, whose settings lie below those of the jobs, and its size below `memory`.
        prompts: what is sampled with each job, with "{}" for the concept; empty: two of the base's own.
        judge: what judging the files by their pictures is asked for, as in `study.judging`; None: they are not judged.
            A part of the pictures is then kept from training, as with `hold_out`.
    """

    jobs: Sequence[Wanted]
    place: Place
    words: dict[str, str | None] = field(default_factory=dict)
    most_rows: int | None = None
    memory: int | None = None
    hold_out: bool = False
    prompts: Sequence[str] = ()
    seeds: Sequence[int] = (0,)
    preset: str = ""
    judge: StudyOptions | None = None

    @property
    def keeps_back(self) -> bool:
        """Whether a part of the pictures is kept from training."""
        return self.hold_out or self.judge is not None


@dataclass(frozen=True)
class Job:
    """One training of the sweep, with its file and its folder of records."""

    name: str
    method: str
    settings: Any
    given: dict[str, Any]  # by the preset and by the user
    seed: int
    concept: Concept
    trained: Examples
    watched: Examples | None
    file: Path
    folder: Path

    @property
    def steps(self) -> int:
        return self.settings.steps if isinstance(self.settings, Training) else 0

    @property
    def says(self) -> str:
        return method_named(self.method).phrase(self.settings, self.concept.class_word)

    @property
    def record(self) -> TrialRecord | None:
        return TrialRecord.read(self.folder) if (self.folder / TrialRecord.NAME).is_file() else None

    @property
    def failure(self) -> str | None:
        return self.record.failure if self.record else None

    @property
    def is_done(self) -> bool:
        return self.record is not None and self.failure is None and self.file.is_file()

    @cached_property
    def artifact(self) -> Artifact:
        return open_artifact(self.file)


@dataclass(frozen=True)
class SweepResult:
    """The page, the files of the jobs that have one, and by name of the job failures and what files are worth."""

    page: Path
    files: tuple[Path, ...]
    failures: dict[str, str]
    judged: dict[str, Judged]


def sweep(request: SweepRequest, out: Path, board: Board, opened: Callable[[Place], Base] = Place.open) -> SweepResult:
    """Train the jobs that are missing, sample pictures with all of them, and write the page.

    Raises:
        TriptychError: bad input, or the folder cannot be written.
        Stopped: cancelled, after the state of the pass is saved.
    """
    wanted = for_each_concept(request.jobs, request.words)
    called, layout = names(wanted), Layout(out)
    concepts = {key: Concept.open(key[0], **{**request.words, "only": key[1]}) for key in map(_concept_of, wanted)}
    with layout.locked():
        for concept in concepts.values():
            for line in summary(concept):
                board.note(line)
        board.stage("opening", 1)
        base = opened(request.place)
        preset = Preset.of(base, request.preset)
        jobs = _jobs(base, request, preset, dict(zip(called, wanted, strict=True)), concepts, out)
        for line in dict.fromkeys(chain(*(_remarks(base, job, preset, request.memory) for job in jobs))):
            board.note(line)
        request = replace(request, memory=request.memory or preset.memory)
        at = At(base, out, board)
        with _workers(at, jobs, request) as workers:
            _train_all(at, jobs, request, workers)
            sampled = sample_jobs(at, [job for job in jobs if job.is_done], request.prompts, request.seeds, workers)
        judged = judge_jobs(_by_concept(jobs, wanted), request.judge, at) if request.judge else {}
        rows = [_row(job, wanted[i], sampled, judged.get(job.name)) for i, job in enumerate(jobs)]
        page = write_page(rows, sampled.bare, out / PAGE)
    failures = {job.name: job.failure for job in jobs if job.failure}
    return SweepResult(page, tuple(job.file for job in jobs if job.is_done), failures, judged)


def _by_concept(jobs: Sequence[Job], wanted: Sequence[Wanted]) -> dict[tuple[Path, str], list[Job]]:
    """The jobs that have a file, by folder and words of their concept."""
    found: dict[tuple[Path, str], list[Job]] = {}
    for job, asked in zip(jobs, wanted, strict=True):
        if job.is_done:
            found.setdefault(_concept_of(asked), []).append(job)
    return found


def _concept_of(job: Wanted) -> tuple[Path, str]:
    return job.folder, job.only


def _jobs(
    base: Base,
    request: SweepRequest,
    preset: Preset,
    wanted: Mapping[str, Wanted],
    concepts: Mapping[tuple[Path, str], Concept],
    out: Path,
) -> list[Job]:
    examples: dict[tuple[Path, str, tuple[int, ...]], Examples] = {}

    def chosen(job: Wanted, which: tuple[int, ...]) -> Examples:
        place = (*_concept_of(job), which)
        if place not in examples:
            examples[place] = Examples.of(base, concepts[_concept_of(job)], which)
        return examples[place]

    found = []
    for name, job in wanted.items():
        method, concept = method_named(job.method), concepts[_concept_of(job)]
        own = base.description.methods.get(job.method, {})
        given = {**preset.methods.get(job.method, {}), **job.settings}
        settings = method.for_concept(method.configure(own, given), concept)
        every = tuple(range(len(concept.pictures)))
        split = concept.split(0) if request.keeps_back else None
        train = split.train if split else every
        made_from = (base.identity, str(base.dtype), base.resolution, concept.digest, train, job.method)
        prepared = [stated] if (stated := acting(PLAIN, [concept], base.resolution).stated) else []
        folder = out / "jobs" / f"{shortened(name)}-{key(*made_from, asdict(settings), job.seed, *prepared)}"
        found.append(
            Job(
                name, job.method, settings, given, job.seed, concept, chosen(job, train),
                chosen(job, split.held_out) if split else None, out / f"{shortened(name)}.safetensors", folder,
            )
        )  # fmt: skip
    return found


def _remarks(base: Base, job: Job, preset: Preset, memory: int | None) -> list[str]:
    found = [preset.line(job.method, job.given, memory)] if isinstance(job.settings, Training) else []
    found += remarks_on(base, job.method, job.given, job.settings, job.concept.class_word, job.trained)
    return [line for line in [*found, schedule_remark(job.method, job.settings)] if line]


def _workers(at: At, jobs: Sequence[Job], request: SweepRequest) -> AbstractContextManager[Workers | None]:
    """Workers, where there is more than one pass. Passes that are planned for a memory have it for themselves."""
    if request.memory or len(list(joint_passes(jobs, _rows(at.base, request)))) < 2:
        return nullcontext()
    return workers_on(at.base, at.board, in_worker, request.place, at.out)


def _rows(base: Base, request: SweepRequest) -> int:
    return request.most_rows or rows_of_a_pass(base)


def _train_all(at: At, jobs: Sequence[Job], request: SweepRequest, workers: Workers | None) -> None:
    board = at.board
    for job in jobs:
        board.row(job.name, "done" if job.is_done else "waits", job.steps if job.is_done else 0, job.steps)
    missing = sorted((job for job in jobs if not job.is_done), key=lambda job: (job.method, repr(job.settings)))
    if earlier := sum(job.file.is_file() for job in missing):
        board.note(f"trained anew: {counted(earlier, 'file')} of other settings or pictures, or of a stopped sweep")
    passes = _passes(at.base, missing, request, board)
    _drop_other_states(passes, at.out, board)
    board.stage("training", sum(max(job.steps for job in joint) for joint in passes))
    tasks = [Task(_train, (joint, request.memory), sum(map(rows_of_all_steps, joint))) for joint in passes]
    share(workers, tasks, at, board)


def _passes(base: Base, missing: Sequence[Job], request: SweepRequest, board: Board) -> list[list[Job]]:
    """The joint passes: of so many rows, or as many jobs as the memory holds in one pass a step."""
    memory = request.memory
    if not memory or request.most_rows:
        return list(joint_passes(missing, _rows(base, request)))
    passes = list(fitting_passes(missing, lambda joint: _fits(base, joint, memory)))
    if missing:
        sizes = [len(joint) for joint in passes]
        found = ", ".join(f"{sizes.count(count)} of {count}" for count in dict.fromkeys(sizes))
        board.note(f"memory: {counted(len(missing), 'job')} in passes for {size(memory)}: {found}")
    return passes


def _fits(base: Base, joint: Sequence[Job], memory: int) -> bool:
    try:
        return fits(base, _trials(joint), memory)
    except TriptychError:  # a job cannot start: the pass that breaks of it says so
        return True


def _trials(joint: Sequence[Job]) -> list[Trial]:
    return [
        Trial(
            job.method, job.settings, job.trained, job.concept.class_word, job.seed,
            job.name if len(joint) > 1 else None, job.watched,
        )
        for job in joint
    ]  # fmt: skip


def _drop_other_states(passes: Sequence[Sequence[Job]], out: Path, board: Board) -> None:
    """Delete the states that no pass will resume, and say so."""
    others = set((out / "jobs").glob("state-*.pt")) - {_state(out, joint) for joint in passes}
    for path in others:
        path.unlink()
    if others:
        board.note("the jobs have changed since the sweep was stopped: those that had not ended begin again at step 0")


def _state(out: Path, joint: Sequence[Job]) -> Path:
    return out / "jobs" / f"state-{key([job.folder.name for job in joint])}.pt"


def _train(at: At, joint: Sequence[Job], memory: int | None) -> None:
    """Train one pass. If it fails, train each of its jobs alone, so that only the faulty one is lost."""
    base, board, state = at.base, at.board, _state(at.out, joint)
    try:
        fitted = fit(
            base,
            _trials(joint),
            state=state,
            progress=steps_of(board),
            watch=_shown(joint, board),
            memory=memory,
            note=board.note,
        )
    except Stopped as stopped:
        board.note(str(stopped))
        raise
    except (TriptychError, RuntimeError, ValueError) as error:  # RuntimeError: out of memory, among others
        state.unlink(missing_ok=True)
        if len(joint) > 1:
            board.note(f"a joint pass broke ({first_line(error)}); its jobs are trained one by one")
            for job in joint:
                _train(at, [job], memory)
            return
        fitted = [Fitted({}, failure=first_line(error))]
    for job, result in zip(joint, fitted, strict=True):
        _keep(base, job, result, [other.name for other in joint if other is not job])
        board.row(job.name, result.failure or "done", len(result.losses), job.steps, _last(result.losses))
    state.unlink(missing_ok=True)


def _shown(joint: Sequence[Job], board: Board) -> Callable[[Moment], None]:
    """Shows the loss of each job after each step."""
    name_of = {job.name if len(joint) > 1 else None: job.name for job in joint}

    def show(moment: Moment) -> None:
        for job in moment.active:
            board.row(name_of[job.owner], "trains", moment.done, job.training.steps, _last(job.losses))

    return show


def _last(losses: Sequence[float]) -> float | None:
    """The mean of the last ten losses."""
    return sum(losses[-10:]) / len(losses[-10:]) if losses else None


def _keep(base: Base, job: Job, result: Fitted, others: Sequence[str]) -> None:
    """Write the file, its losses, and last the record, which marks the training as ended."""
    if not result.failure:
        origin = provenance(base, job.concept, job.says, job.seed) | {"sweep": job.name}
        artifact = Artifact.trained(job.method, job.settings, result.tensors, origin)
        save(artifact, job.file, to=method_named(job.method).exports_as[0], base=base)
        Log(tuple(enumerate(result.losses, start=1)), tuple(result.fixed)).write(job.folder)
    TrialRecord(
        job.method, 0, job.seed, asdict(job.settings), len(result.losses), result.kept_step,
        getattr(job.settings, "lr", 0.0), job.says, result.failure, tuple(job.trained.names), result.seconds,
        tuple(others), sum(tensor.numel() for tensor in result.tensors.values()),
    ).write(job.folder)  # fmt: skip


def _row(job: Job, wanted: Wanted, sampled: Sampled, judged: Judged | None) -> Row:
    record, log = job.record, Log.read(job.folder)
    kept = record.kept_step if record else 0
    return Row(
        job.name, job.concept.name, job.method, job.given, wanted.seed, job.file.name if job.is_done else "",
        job.failure or "", log.losses, log.fixed, dict(log.fixed).get(kept), record.parameters if record else 0,
        job.file.stat().st_size if job.is_done else 0, tuple(sampled.of.get(job.name, ())), judged,
    )  # fmt: skip
