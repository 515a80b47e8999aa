"""The search for one method's learning rate and number of steps, with early stopping of poor trials.

The search is successive halving (Jamieson & Talwalkar, arXiv:1502.07943) in its asynchronous form (Li et al.,
arXiv:1810.05934). At 1/9 and 1/3 of the usual length a trial goes on only if it is in the best third of the trials that
got there. optuna proposes and prunes the trials. A journal keeps every result, so a stopped search can be resumed. The
first trial has the usual settings, which the others have to beat.
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

REDUCTION = 3  # eta: one trial in this many goes on
RUNGS = 2  # points before the end where trials are pruned
WIDTH = 10.0  # the learning rate is searched from the usual one divided by this to that multiplied by it
STRETCH = 2  # the same for the number of steps


class Search:
    """The search for one method. `key` separates searches with other pictures, bases or settings in one journal.

    Raises:
        TriptychError: the usual learning rate is 0.
    """

    def __init__(self, journal: Path, method: str, key: str, usual: Training, seed: int) -> None:
        if not usual.lr:
            raise TriptychError(f"{method}: the search goes around the usual lr, which must be above 0")
        self.method, self.usual, self.seed = method, usual, seed
        self.first_rung = max(1, round(usual.steps / REDUCTION**RUNGS))
        pruner = optuna.pruners.SuccessiveHalvingPruner(min_resource=self.first_rung, reduction_factor=REDUCTION)
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        storage = JournalStorage(JournalFileBackend(str(journal)))
        self.study = optuna.create_study(
            storage=storage, study_name=f"{method}-{key}", direction="maximize", pruner=pruner, load_if_exists=True
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
    def spent(self) -> int:
        """The number of finished trials: complete or pruned."""
        return len(self.study.get_trials(states=(TrialState.COMPLETE, TrialState.PRUNED)))

    def ask(self, count: int) -> list[Trial]:
        seed = generator("tune", self.seed, self.method, len(self.study.trials)).initial_seed()
        with warnings.catch_warnings():  # about `constant_liar`, which spreads out trials of one batch
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            self.study.sampler = optuna.samplers.TPESampler(seed=seed, constant_liar=True)
        return [self._fill(self.study.ask()) for _ in range(count)]

    def _fill(self, trial: Trial) -> Trial:
        lr, steps = self.usual.lr, self.usual.steps
        trial.suggest_float("lr", lr / WIDTH, lr * WIDTH, log=True)
        trial.suggest_int("steps", max(1, steps // STRETCH), steps * STRETCH, log=True)
        return trial

    def report(self, trial: Trial, done: int, loss: float) -> bool:
        """Report a fixed-batch loss after `done` steps. Returns whether to prune the trial."""
        trial.report(-loss, done)
        return bool(trial.should_prune()) and done < trial.params["steps"]

    def end(self, trial: Trial, value: float | None) -> None:
        """Finish a trial. `value` is None for a trial that was pruned or failed."""
        pruned = value is None or not math.isfinite(value)
        self.study.tell(trial, None if pruned else value, TrialState.PRUNED if pruned else TrialState.COMPLETE)

    def best(self) -> dict[str, Any] | None:
        """The settings of the best complete trial; None where there is none."""
        whole = self.study.get_trials(states=(TrialState.COMPLETE,))
        return rounded(max(whole, key=lambda trial: (trial.value, -trial.number)).params) if whole else None

    def table(self) -> list[Tried]:
        return [self._row(trial) for trial in self.study.trials if trial.state in _STATES]

    def _row(self, trial: FrozenTrial) -> Tried:
        looks = {str(step): -value for step, value in trial.intermediate_values.items()}
        value = trial.value if trial.state is TrialState.COMPLETE else None
        return Tried(self.method, trial.number, _STATES[trial.state], rounded(trial.params), looks, value)


_STATES = {TrialState.COMPLETE: "complete", TrialState.PRUNED: "pruned"}


def rounded(params: dict[str, Any]) -> dict[str, Any]:
    """The settings with a learning rate of three digits, as they are trained and written."""
    return {**params, "lr": float(f"{params['lr']:.3g}")}
