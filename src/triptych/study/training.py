"""The training stage: every method and every training seed. Methods that share the frozen base train together."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

from .. import __version__
from ..base import Base
from ..data.concept import Concept
from ..data.masks import digest_of
from ..errors import TriptychError, first_line
from ..exchange.artifact import Artifact
from ..exchange.saving import save
from ..methods import Training, method_named
from ..patching.patch import Tensors
from ..records import Log, TrialRecord
from ..training.fit import Fitted, Trial, fit
from ..training.loop import Stopped
from ..training.moments import Moment, Watch
from ..training.sharing import joint_passes, rows_of_all_steps
from .layout import key
from .point import FULL, Point, Use
from .processes import rows_of_a_pass
from .progress import steps_of
from .work import Work
from .workers import Task


@dataclass(frozen=True)
class Run:
    """One training of one method: its inputs, and the folder of its result."""

    method: str
    replicate: int
    seed: int
    settings: Any
    train: tuple[int, ...]  # indices of the training pictures
    watch: tuple[int, ...]  # indices of the pictures of the fixed batch
    folder: Path

    @property
    def artifact(self) -> Path:
        return self.folder / "artifact.safetensors"

    def at(self, moment: float) -> Path:
        """The file of its tensors after a part of the steps, 0 to 1. It is there if the study keeps that moment."""
        return self.artifact if moment == 1 else self.folder / f"moment-{self.step_at(moment):06}.safetensors"

    def step_at(self, moment: float) -> int:
        """The steps done at a moment."""
        return max(1, round(moment * self.steps))

    def uses(self, points: Mapping[str, Point]) -> tuple[Use, ...]:
        """The file to attach for sampling, at its method's point."""
        point = points.get(self.method, FULL)
        path = self.at(point.moment)
        source = self.folder.name if point.moment == 1 else f"{self.folder.name}/{path.stem}"
        return (Use(path, source, point.strength),)

    @property
    def record(self) -> TrialRecord | None:
        """The record of the training; None until it has ended."""
        return TrialRecord.read(self.folder) if (self.folder / TrialRecord.NAME).is_file() else None

    @property
    def done(self) -> bool:
        record = self.record
        return self.artifact.is_file() and record is not None and record.failure is None

    @property
    def failure(self) -> str | None:
        """Why the training failed; None where it did not, or has not run."""
        record = self.record
        return record.failure if record else None

    @property
    def steps(self) -> int:
        return self.settings.steps if isinstance(self.settings, Training) else 0

    def phrase(self, concept: Concept) -> str:
        return method_named(self.method).phrase(self.settings, concept.class_word)


def runs(work: Work) -> list[Run]:
    """Every training of the study, by method, then by training seed."""
    base, concept, found = work.base, work.concept, []
    masks = [digest_of(picture.path for picture in concept.pictures)] if work.plan.pictures.masks else []
    for name in work.plan.chosen:
        settings = work.plan.settings_of(name, base, concept)
        for replicate in range(work.budget.training_seeds):
            split = concept.split(replicate, choose=isinstance(settings, Training) and settings.chooses)
            seed = work.plan.seed * 1000 + replicate
            made_from: tuple[Any, ...] = (work.base_key, concept.digest, split.train, name, asdict(settings), seed)
            if stated := work.pictures.stated:
                made_from += (stated, work.plan.seed, *masks)
            folder = work.layout.trials / f"{name}-{replicate}-{key(*made_from)}"
            found.append(Run(name, replicate, seed, settings, split.train, split.choose or split.held_out, folder))
    return found


def train_all(work: Work, wanted: Sequence[Run]) -> None:
    """Run the trainings that are missing. A failure is recorded and does not stop the others."""
    missing = [run for run in wanted if not run.done]
    passes = list(joint_passes(missing, rows_of_a_pass(work.base)))
    _clear_states(work, keep={_state(work, joint) for joint in passes})
    work.progress.stage("training", sum(max(run.steps for run in joint) for joint in passes))
    work.share([Task(_train, (joint,), sum(map(rows_of_all_steps, joint))) for joint in passes])
    _clear_states(work)


def _state(work: Work, joint: Sequence[Run]) -> Path:
    """The file for the state of a pass that is not finished."""
    return work.layout.trials / f"state-{key([run.folder.name for run in joint])}.pt"


def _clear_states(work: Work, keep: Collection[Path] = ()) -> None:
    """Delete states that no pass will resume: the pass failed, or its runs are now grouped differently."""
    for path in set(work.layout.trials.glob("state-*.pt")) - set(keep):
        path.unlink()


def _train(work: Work, joint: Sequence[Run]) -> None:
    """Run one pass. If it fails, train each of its runs alone, so that only the faulty one is lost."""
    state = _state(work, joint)
    try:
        trials = [_trial(work, run, _owner(run, joint)) for run in joint]
        watch = _moments(work, joint)
        fitted = fit(work.base, trials, state=state, progress=steps_of(work.progress), watch=watch)
    except Stopped as stopped:
        work.progress.note(f"{stopped}: {', '.join(run.method for run in joint)}")
        raise
    except (TriptychError, RuntimeError, ValueError) as error:  # RuntimeError: out of memory, among others
        if len(joint) > 1:
            work.progress.note(f"a joint pass broke ({first_line(error)}); its methods are trained one by one")
            for run in joint:
                _train(work, [run])
            return
        fitted = [Fitted({}, failure=first_line(error))]
    for run, result in zip(joint, fitted, strict=True):
        _keep(work, run, result, [other.method for other in joint if other is not run])
        if result.failure:
            work.progress.note(f"{run.method} has no result: {result.failure}")
    state.unlink(missing_ok=True)


def _owner(run: Run, joint: Sequence[Run]) -> str | None:
    return run.folder.name if len(joint) > 1 else None


def _trial(work: Work, run: Run, owner: str | None) -> Trial:
    watched = work.examples(run.watch, varied=False)
    return Trial(run.method, run.settings, work.examples(run.train), work.concept.class_word, run.seed, owner, watched)


def _moments(work: Work, joint: Sequence[Run]) -> Watch | None:
    """Keeps the moments that the study tries beside the end. A training that chooses its own moment keeps no other."""
    if not work.budget.choosing:
        return None
    kept = {
        (_owner(run, joint), run.step_at(moment)): (run, run.at(moment))
        for run in joint
        for moment in work.budget.moments
        if moment < 1 and run.steps and not run.settings.chooses
    }

    def keep(moment: Moment) -> None:
        for job in moment.active:
            if job.failure is None and (job.owner, moment.done) in kept:
                run, path = kept[job.owner, moment.done]
                save(_artifact(work, run, moment.tensors(job.owner)), path)

    return keep if kept else None


def _artifact(work: Work, run: Run, tensors: Tensors) -> Artifact:
    origin = provenance(work.base, work.concept, run.phrase(work.concept), run.seed)
    return Artifact.trained(run.method, run.settings, tensors, origin)


def _keep(work: Work, run: Run, result: Fitted, others: Sequence[str]) -> None:
    """Write the artifact, its losses, and last the record, which marks the training as ended."""
    says = run.phrase(work.concept)
    if not result.failure:
        save(_artifact(work, run, result.tensors), run.artifact)
        Log(tuple(enumerate(result.losses, start=1)), tuple(result.fixed)).write(run.folder)
    TrialRecord(
        run.method, run.replicate, run.seed, asdict(run.settings), len(result.losses), result.kept_step,
        getattr(run.settings, "lr", 0.0), says, result.failure,
        tuple(work.concept.pictures[i].name for i in run.train), result.seconds, tuple(others),
        sum(tensor.numel() for tensor in result.tensors.values()), work.at_once,
    ).write(run.folder)  # fmt: skip


def provenance(base: Base, concept: Concept, says: str, seed: int) -> dict[str, str]:
    """The provenance of an artifact. It holds no path of the user."""
    return {
        "says": says, "base": Path(base.name).name, "family": base.description.family,
        "base_fingerprint": base.identity, "pictures": concept.digest, "seed": str(seed),
        "prediction": base.process.prediction, "resolution": str(base.resolution),
        "kind": concept.kind, "class_word": concept.class_word, "token": concept.token,
        "precision": str(base.dtype).removeprefix("torch."), "pictures_count": str(len(concept.pictures)),
        "date": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "triptych_version": __version__, "torch": str(torch.__version__),
    }  # fmt: skip
