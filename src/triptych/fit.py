"""From trials to artifacts: each starts from its seed, all that share a frozen base learn in one pass."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .artifact import Artifact, Part, compose
from .base import Base, Owner
from .patch import Examples, Patch, Stage, Tensors, method_named
from .train import Job, Progress, train


@dataclass(frozen=True)
class Trial:
    """One method to be taught one concept once."""

    method: str
    settings: Any
    examples: Examples
    class_word: str
    seed: int = 0
    owner: Owner = None


@dataclass(frozen=True)
class Fitted:
    """What came of a trial: its tensors, or why there are none."""

    tensors: Tensors
    losses: list[float] = field(default_factory=list)
    seconds: float = 0.0  # of the whole pass it was trained in
    failure: str | None = None


def fit(
    base: Base, trials: Sequence[Trial], *, state: Path | None = None, every: int = 50, progress: Progress | None = None
) -> list[Fitted]:
    """Learn one concept or forty in one pass; each comes out as if it had been alone.

    Raises:
        TriptychError: a trial cannot start (a bad setting, a word the base already has, no class pictures).
    """
    began = time.perf_counter()
    computed = {}
    for i, trial in enumerate(trials):
        tensors = method_named(trial.method).compute(base, trial.settings, trial.examples)
        if tensors is not None:
            computed[i] = Fitted(tensors, seconds=time.perf_counter() - began)
    learning = [trial for i, trial in enumerate(trials) if i not in computed]
    learned = iter(_learn(base, learning, state, every, progress) if learning else ())
    return [computed[i] if i in computed else next(learned) for i in range(len(trials))]


def _learn(
    base: Base, trials: Sequence[Trial], state: Path | None, every: int, progress: Progress | None
) -> list[Fitted]:
    sources = [
        method_named(trial.method).sources(base, trial.settings, trial.examples, trial.class_word) for trial in trials
    ]
    starts = [
        Artifact(trial.method, trial.settings, method_named(trial.method).start(base, trial.settings, trial.seed))
        for trial in trials
    ]
    began = time.perf_counter()
    parts = [Part(start, owner=trial.owner) for start, trial in zip(starts, trials, strict=True)]
    with compose(base, *parts) as patches:
        jobs = [
            Job(trial.owner, patch.parameters(), source, trial.settings, trial.seed, _text_is_fixed(trial))
            for trial, patch, source in zip(trials, patches, sources, strict=True)
        ]
        train(base, jobs, state=state, every=every, progress=progress)
        seconds = time.perf_counter() - began
        return [
            Fitted(_kept(patch), job.losses, seconds, job.failure) for job, patch in zip(jobs, patches, strict=True)
        ]


def _text_is_fixed(trial: Trial) -> bool:
    return method_named(trial.method).stage < Stage.WORDS


def _kept(patch: Patch) -> Tensors:
    return {name: tensor.detach().cpu().clone() for name, tensor in patch.tensors().items()}
