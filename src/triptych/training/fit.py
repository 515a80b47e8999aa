"""From trials to artifacts: each starts from its seed, all that share a frozen base learn in one pass."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from ..base import Base, Owner
from ..data.examples import Examples, Source
from ..exchange.artifact import Artifact, Part, compose
from ..methods import Method, method_named, refuse
from ..patching.patch import Patch, Tensors
from .fixed_loss import FixedLoss, check, fixed_batch
from .job import Job
from .loop import Leave, Progress, train
from .reading import refuse_cut_words
from .state import MadeFrom


@dataclass(frozen=True)
class Trial:
    """One method to be taught one concept once.

    The fixed-batch loss is taken on the pictures `held_out` of training, or on the training pictures where there are
    none: then it tells when the noise of training has settled, but not when the pictures begin to be learned by heart.
    """

    method: str
    settings: Any
    examples: Examples
    class_word: str
    seed: int = 0
    owner: Owner = None
    held_out: Examples | None = None

    @property
    def kind(self) -> Method[Any]:
        return method_named(self.method)


@dataclass(frozen=True)
class Fitted:
    """What came of a trial: its tensors, or why there are none."""

    tensors: Tensors
    losses: list[float] = field(default_factory=list)  # of each step
    fixed: list[tuple[int, float]] = field(default_factory=list)  # steps done, fixed-batch loss
    kept_step: int = 0  # the steps done when the tensors were as they are
    seconds: float = 0.0  # of the whole pass it was trained in
    failure: str | None = None


def fit(
    base: Base,
    trials: Sequence[Trial],
    *,
    state: Path | None = None,
    made_from: MadeFrom | None = None,
    every: int = 50,
    progress: Progress | None = None,
    leave: Leave | None = None,
) -> list[Fitted]:
    """Learn one concept or forty in one pass; each comes out as if it had been alone.

    `leave` is told of every look at fixed-batch losses, by owner, and says who is to leave the pass.

    Raises:
        TriptychError: a trial cannot start (a bad setting, a word the base already has, no class pictures).
    """
    for trial in trials:
        refuse(trial.kind, base)
    began = time.perf_counter()
    computed = {}
    for i, trial in enumerate(trials):
        tensors = trial.kind.compute(base, trial.settings, trial.examples)
        if tensors is not None:
            computed[i] = Fitted(tensors, seconds=time.perf_counter() - began)
    learning = [trial for i, trial in enumerate(trials) if i not in computed]
    learned = iter(_learn(base, learning, state, made_from, every, progress, leave) if learning else ())
    return [computed[i] if i in computed else next(learned) for i in range(len(trials))]


def _learn(
    base: Base,
    trials: Sequence[Trial],
    state: Path | None,
    made_from: MadeFrom | None,
    every: int,
    progress: Progress | None,
    leave: Leave | None,
) -> list[Fitted]:
    for trial in trials:
        refuse_cut_words(base, trial.method, trial.settings, trial.class_word, trial.examples)
    sources = [trial.kind.sources(base, trial.settings, trial.examples, trial.class_word) for trial in trials]
    starts = [
        Artifact(trial.method, trial.settings, trial.kind.start(base, trial.settings, trial.seed)) for trial in trials
    ]
    began = time.perf_counter()
    parts = [Part(start, owner=trial.owner) for start, trial in zip(starts, trials, strict=True)]
    with compose(base, *parts) as patches:
        jobs = [_job(base, *one) for one in zip(trials, patches, sources, strict=True)]
        train(base, jobs, state=state, made_from=made_from, every=every, progress=progress, leave=leave)
        seconds = time.perf_counter() - began
        return [_fitted(job, patch, seconds) for job, patch in zip(jobs, patches, strict=True)]


def _job(base: Base, trial: Trial, patch: Patch, sources: Sequence[Source]) -> Job:
    return Job(
        trial.owner, patch.parameters(), sources, trial.settings, trial.seed,
        text_is_fixed=not trial.kind.changes_text(trial.settings),
        fixed=_watched(base, trial, patch),
        rates=trial.kind.rates(trial.settings),
    )  # fmt: skip


def _watched(base: Base, trial: Trial, patch: Patch) -> FixedLoss | None:
    check(trial.settings, trial.method)
    if not trial.settings.fixed_every:
        return None
    phrase = trial.kind.phrase(trial.settings, trial.class_word)
    batch = fixed_batch(trial.held_out or trial.examples, phrase, base.process)
    return FixedLoss(batch, trial.settings, partial(_kept, patch))


def _fitted(job: Job, patch: Patch, seconds: float) -> Fitted:
    curve = job.fixed.curve if job.fixed else []
    if job.fixed and job.fixed.best:
        return Fitted(job.fixed.best, job.losses, curve, job.fixed.best_step, seconds, job.failure)
    return Fitted(_kept(patch), job.losses, curve, len(job.losses), seconds, job.failure)


def _kept(patch: Patch) -> Tensors:
    return {name: tensor.detach().cpu().clone() for name, tensor in patch.tensors().items()}
