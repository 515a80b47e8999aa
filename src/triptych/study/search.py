"""The search for one method's learning rate and number of steps.

Every trial is trained to its end and judged by its pictures: the fixed-batch loss is a poor guide to them, and methods
are compared fairly only if as many trainings of each were looked at. optuna proposes the trials by its tree-structured
Parzen estimator (Bergstra et al. 2011, Algorithms for hyper-parameter optimization). The first trial has the usual
settings, which the others have to beat. Where the best learning rate so far lies near an end of its range, the range
moves to have it in its middle. The number of steps stays within half and twice the usual one, since it is the effort.

A journal keeps every result, so a stopped search can be resumed.
"""

from __future__ import annotations

import math
import warnings
from pathlib import Path
from typing import Any

import optuna
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import FrozenTrial, Trial, TrialState

from ..base import generator
from ..errors import TriptychError
from ..methods import Training
from .tuned import Tried

WIDTH = 10.0  # the learning rate is searched from the middle of its range divided by this to that multiplied by it
NEAR = 2.0  # a best rate within this factor of an end moves the range
STRETCH = 2  # the number of steps is searched from the usual one divided by this to that multiplied by it
FIRST = 4  # trials before the estimator proposes
FAILURES = 2  # trials that fail, for each that was asked for, before the search gives up


class Search:
    """The search for one method. `key` separates searches with other pictures, bases or settings in one journal.

    Raises:
        TriptychError: the usual learning rate is 0.
    """

    def __init__(self, journal: Path, method: str, key: str, usual: Training, seed: int) -> None:
        if not usual.lr:
            raise TriptychError(f"{method}: the search goes around the usual lr, which must be above 0")
        self.method, self.usual, self.seed = method, usual, seed
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        storage = JournalStorage(JournalFileBackend(str(journal)))
        self.study = optuna.create_study(
            storage=storage, study_name=f"{method}-{key}", direction="maximize", load_if_exists=True
        )
        self._requeue()

    def _requeue(self) -> None:
        """Queue the trials again that were running when the search was stopped."""
        if not self.study.trials:
            self.study.enqueue_trial({"lr": self.usual.lr, "steps": self.usual.steps})
        for trial in self.study.get_trials(states=(TrialState.RUNNING,)):
            self.study.tell(trial.number, state=TrialState.FAIL)
            self.study.enqueue_trial(trial.params)

    @property
    def judged(self) -> list[FrozenTrial]:
        """The trials whose pictures were judged, in the order in which they were proposed."""
        return [trial for trial in self.study.trials if trial.state is TrialState.COMPLETE]

    def left(self, trials: int) -> int:
        """How many are still to be judged of so many; 0 where too many failed."""
        failed = len(self.study.get_trials(states=(TrialState.PRUNED,)))
        return max(0, trials - len(self.judged)) if failed < FAILURES * trials else 0

    def middle(self) -> float:
        """The middle of the range of learning rates. It follows each trial that was the best when it ended."""
        middle, best = self.usual.lr, -math.inf
        for trial in self.judged:
            assert trial.value is not None
            if trial.value > best:
                best, lr = trial.value, trial.params["lr"]
                middle = lr if max(lr / middle, middle / lr) > WIDTH / NEAR else middle
        return middle

    def ask(self, count: int) -> list[Trial]:
        seed = generator("tune", self.seed, self.method, len(self.study.trials)).initial_seed()
        with warnings.catch_warnings():  # about `constant_liar`, which spreads out trials of one batch
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            self.study.sampler = optuna.samplers.TPESampler(seed=seed, constant_liar=True, n_startup_trials=FIRST)
        middle = self.middle()
        return [self._fill(self.study.ask(), middle) for _ in range(count)]

    def _fill(self, trial: Trial, middle: float) -> Trial:
        steps = self.usual.steps
        trial.suggest_float("lr", middle / WIDTH, middle * WIDTH, log=True)
        trial.suggest_int("steps", max(1, steps // STRETCH), steps * STRETCH, log=True)
        return trial

    def end(self, trial: Trial, value: float | None) -> None:
        """Finish a trial with the value of its pictures; None for a training that failed."""
        failed = value is None or not math.isfinite(value)
        self.study.tell(trial, None if failed else value, TrialState.PRUNED if failed else TrialState.COMPLETE)

    def best(self) -> dict[str, Any] | None:
        """The settings of the best trial; None where none was judged."""
        judged = self.judged
        return rounded(max(judged, key=lambda trial: (trial.value, -trial.number)).params) if judged else None

    def table(self) -> list[Tried]:
        return [
            Tried(self.method, trial.number, rounded(trial.params), trial.value)
            for trial in self.study.trials
            if trial.state in (TrialState.COMPLETE, TrialState.PRUNED)
        ]


def rounded(params: dict[str, Any]) -> dict[str, Any]:
    """The settings with a learning rate of three digits, as they are trained and written."""
    return {**params, "lr": float(f"{params['lr']:.3g}")}
