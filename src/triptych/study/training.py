"""The training stage: every method, every training seed; those that share the frozen base, in joint passes."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

from .. import __version__
from ..base import Base
from ..data.concept import Concept
from ..errors import TriptychError, first_line
from ..exchange.artifact import Artifact
from ..exchange.saving import save
from ..methods import Training, method_named
from ..records import Log, TrialRecord
from ..training.fit import Fitted, Trial, fit
from ..training.stopping import Stopped
from .layout import key
from .progress import steps_of
from .work import Work


@dataclass(frozen=True)
class Run:
    """One training of one method: what it is made from, and where its result lies."""

    method: str
    replicate: int
    seed: int
    settings: Any
    train: tuple[int, ...]  # which pictures
    watch: tuple[int, ...]  # which pictures the fixed-batch loss is taken on
    folder: Path

    @property
    def artifact(self) -> Path:
        return self.folder / "artifact.safetensors"

    @property
    def artifacts(self) -> tuple[Path, ...]:
        """What is attached to draw with it."""
        return (self.artifact,)

    @property
    def record(self) -> TrialRecord | None:
        """What came of it; None where it has not ended."""
        return TrialRecord.read(self.folder) if (self.folder / TrialRecord.NAME).is_file() else None

    @property
    def done(self) -> bool:
        record = self.record
        return self.artifact.is_file() and record is not None and record.failure is None

    @property
    def failure(self) -> str | None:
        """Why there is no result; None where there is one, or none was tried for."""
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
    for name in work.plan.chosen:
        settings = work.plan.settings_of(name, base, concept)
        for replicate in range(work.budget.training_seeds):
            split = concept.split(replicate, choose=isinstance(settings, Training) and settings.chooses)
            seed = work.plan.seed * 1000 + replicate
            made_from = (work.base_key, concept.digest, split.train, name, asdict(settings), seed)
            folder = work.layout.trials / f"{name}-{replicate}-{key(*made_from)}"
            found.append(Run(name, replicate, seed, settings, split.train, split.choose or split.held_out, folder))
    return found


def train_all(work: Work, wanted: Sequence[Run]) -> None:
    """Trains what is not there yet. What fails is recorded as a failure and does not take the rest down."""
    passes = list(_passes([run for run in wanted if not run.done], work.base.description.drawing.rows))
    _clear_states(work, keep={_state(work, one) for one in passes})
    work.progress.stage("training", sum(max(run.steps for run in one) for one in passes))
    for one in passes:
        _train(work, one)
    _clear_states(work)


def _state(work: Work, one: Sequence[Run]) -> Path:
    """Where a pass that is running writes its state."""
    return work.layout.trials / f"state-{key([run.folder.name for run in one])}.pt"


def _clear_states(work: Work, keep: Collection[Path] = ()) -> None:
    """Delete what passes left that nobody goes on with: they broke, or were put together in another way."""
    for path in set(work.layout.trials.glob("state-*.pt")) - set(keep):
        path.unlink()


def _passes(wanted: Sequence[Run], most: int) -> Iterator[list[Run]]:
    """Joint passes of at most `most` rows a step; a method that cannot share one is alone."""
    together: list[Run] = []
    for run in sorted(wanted, key=lambda run: run.replicate):
        if _trains_alone(run):
            continue
        rows = sum(other.settings.batch for other in [*together, run])
        if together and rows > most:
            yield together
            together = []
        together.append(run)
    if together:
        yield together
    yield from ([run] for run in wanted if _trains_alone(run))


def _trains_alone(run: Run) -> bool:
    """A run without steps has nothing to share."""
    return not run.steps or not method_named(run.method).shares_a_pass


def _train(work: Work, one: Sequence[Run]) -> None:
    """A pass; where it breaks, each of its runs by itself, so that the one to blame is found."""
    state = _state(work, one)
    try:
        trials = [_trial(work, run, len(one) > 1) for run in one]
        fitted = fit(work.base, trials, state=state, progress=steps_of(work.progress))
    except Stopped as stopped:
        work.progress.note(f"{stopped}: {', '.join(run.method for run in one)}")
        raise
    except (TriptychError, RuntimeError, ValueError) as error:  # RuntimeError: out of memory, among others
        if len(one) > 1:
            work.progress.note(f"a joint pass broke ({first_line(error)}); its methods are trained one by one")
            for run in one:
                _train(work, [run])
            return
        fitted = [Fitted({}, failure=first_line(error))]
    for run, result in zip(one, fitted, strict=True):
        _keep(work, run, result, [other.method for other in one if other is not run])
        if result.failure:
            work.progress.note(f"{run.method} has no result: {result.failure}")
    state.unlink(missing_ok=True)


def _trial(work: Work, run: Run, owned: bool) -> Trial:
    owner = run.folder.name if owned else None
    watched = work.examples(run.watch)
    return Trial(run.method, run.settings, work.examples(run.train), work.concept.class_word, run.seed, owner, watched)


def _keep(work: Work, run: Run, result: Fitted, others: Sequence[str]) -> None:
    """The artifact, its losses, and last the record that says the trial is over."""
    says = run.phrase(work.concept)
    if not result.failure:
        told = provenance(work.base, work.concept, says, run.seed)
        save(Artifact(run.method, run.settings, result.tensors, told), run.artifact)
        Log(tuple(enumerate(result.losses, start=1)), tuple(result.fixed)).write(run.folder)
    TrialRecord(
        run.method, run.replicate, run.seed, asdict(run.settings), len(result.losses), result.kept_step,
        getattr(run.settings, "lr", 0.0), says, result.failure,
        tuple(work.concept.pictures[i].path.name for i in run.train), result.seconds, tuple(others),
        sum(tensor.numel() for tensor in result.tensors.values()),
    ).write(run.folder)  # fmt: skip


def provenance(base: Base, concept: Concept, says: str, seed: int) -> dict[str, str]:
    """What made an artifact, without a path of the user's."""
    return {
        "says": says, "base": Path(base.name).name, "family": base.description.family,
        "base_fingerprint": base.identity, "pictures": concept.digest, "seed": str(seed),
        "prediction": base.process.prediction, "resolution": str(base.resolution),
        "precision": str(base.dtype).removeprefix("torch."), "pictures_count": str(len(concept.pictures)),
        "date": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "triptych_version": __version__, "torch": str(torch.__version__),
    }  # fmt: skip
