"""Trains trials. Each starts from its own seed, and all that share a frozen base train in one pass."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Sequence
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
from .loop import Progress, StopEarly, train
from .reading import refuse_cut_words
from .state import MadeFrom


@dataclass(frozen=True)
class Moments:
    """Steps of a training after which `keep` is given the steps done and a copy of the tensors on the CPU.

    They change nothing of the training. A training that is resumed gives those after the resumed state again.
    """

    steps: Collection[int]
    keep: Callable[[int, Tensors], None]


@dataclass(frozen=True)
class Trial:
    """One training of one method on one concept.

    The fixed-batch loss is computed on the pictures in `held_out`, or on the training pictures if there are none. On
    training pictures it shows when the loss has settled, but not when the method begins to memorise them.
    """

    method: str
    settings: Any
    examples: Examples
    class_word: str
    seed: int = 0
    owner: Owner = None
    held_out: Examples | None = None
    moments: Moments | None = None

    @property
    def kind(self) -> Method[Any]:
        return method_named(self.method)


@dataclass(frozen=True)
class Fitted:
    """The result of a trial: its tensors, or the reason why it failed."""

    tensors: Tensors
    losses: list[float] = field(default_factory=list)  # of each step
    fixed: list[tuple[int, float]] = field(default_factory=list)  # steps done, fixed-batch loss
    kept_step: int = 0  # steps done when the tensors were taken
    seconds: float = 0.0  # of the whole pass that it was trained in
    failure: str | None = None


def fit(
    base: Base,
    trials: Sequence[Trial],
    *,
    state: Path | None = None,
    made_from: MadeFrom | None = None,
    every: int = 50,
    progress: Progress | None = None,
    stop_early: StopEarly | None = None,
) -> list[Fitted]:
    """Train all trials in one pass. The result of each is as if it had been trained alone.

    `stop_early` is called with every evaluation of fixed-batch losses, by owner. It returns the owners that stop early.
    For `state`, `made_from`, `every` and `progress` see `train`.

    Raises:
        TriptychError: a trial cannot start (a bad setting, a word that the base already has, no class pictures).
    """
    for trial in trials:
        refuse(trial.kind, base)
    began = time.perf_counter()
    computed = {}
    for i, trial in enumerate(trials):
        tensors = trial.kind.compute(base, trial.settings, trial.examples)
        if tensors is not None:
            computed[i] = Fitted(tensors, seconds=time.perf_counter() - began)
    others = [trial for i, trial in enumerate(trials) if i not in computed]
    trained = iter(_train(base, others, state, made_from, every, progress, stop_early) if others else ())
    return [computed[i] if i in computed else next(trained) for i in range(len(trials))]


def _train(
    base: Base,
    trials: Sequence[Trial],
    state: Path | None,
    made_from: MadeFrom | None,
    every: int,
    progress: Progress | None,
    stop_early: StopEarly | None,
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
        jobs = [_job(base, *args) for args in zip(trials, patches, sources, strict=True)]
        train(base, jobs, state=state, made_from=made_from, every=every, progress=progress, stop_early=stop_early)
        seconds = time.perf_counter() - began
        return [_fitted(job, patch, seconds) for job, patch in zip(jobs, patches, strict=True)]


def _job(base: Base, trial: Trial, patch: Patch, sources: Sequence[Source]) -> Job:
    return Job(
        trial.owner, patch.parameters(), sources, trial.settings, trial.seed,
        text_is_fixed=not (trial.kind.changes_text(trial.settings) or _is_in_text(base, patch)),
        fixed=_fixed_loss(base, trial, patch),
        rates=trial.kind.rates(trial.settings),
        after_step=partial(_keep_moment, trial.moments, patch) if trial.moments else None,
    )  # fmt: skip


def _keep_moment(moments: Moments, patch: Patch, done: int) -> None:
    if done in moments.steps:
        moments.keep(done, _kept(patch))


def _is_in_text(base: Base, patch: Patch) -> bool:
    """Whether the patch trains tensors on layers of a text encoder, whatever its method says."""
    inside = base.changes.tensors_in(*(text.encoder for text in base.texts))
    return any(id(tensor) in inside for group in patch.parameters().values() for tensor in group)


def _fixed_loss(base: Base, trial: Trial, patch: Patch) -> FixedLoss | None:
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
