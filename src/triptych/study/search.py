"""The search for one method's learning rate and length: what to try next, and what to give up early.

Successive halving (Jamieson & Talwalkar, arXiv:1502.07943) as it is done when trials come one after another (Li et al.,
arXiv:1810.05934): at 1/9 and 1/3 of the usual length, only a trial in the best third of those that came so far goes on.
optuna does it, and proposes what to try; every answer is in a journal, which a stopped search goes on from. The first
trial is the usual setting, which the others have to beat.
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

REDUCTION = 3  # eta: of so many, one goes on
RUNGS = 2  # where trials are given up, before the end
WIDTH = 10.0  # the learning rate is sought between the usual one divided and multiplied by this
STRETCH = 2  # the length between the usual one divided and multiplied by this


class Search:
    """One method's. `key` tells searches of other pictures, bases and settings apart, which may lie in one journal.

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
        self._take_up()

    def _take_up(self) -> None:
        """Trials that were under way when the search was stopped are tried again as they were."""
        if not self.study.trials:
            self.study.enqueue_trial({"lr": self.usual.lr, "steps": self.usual.steps})
        for trial in self.study.get_trials(states=(TrialState.RUNNING,)):
            self.study.tell(trial.number, state=TrialState.FAIL)
            self.study.enqueue_trial(trial.params)

    @property
    def spent(self) -> int:
        """Trials that came to an end of their own: whole, given up or broken."""
        return len(self.study.get_trials(states=(TrialState.COMPLETE, TrialState.PRUNED)))

    def ask(self, count: int) -> list[Trial]:
        drawn = generator("tune", self.seed, self.method, len(self.study.trials)).initial_seed()
        with warnings.catch_warnings():  # of `constant_liar`, which spreads out what is asked for at one time
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            self.study.sampler = optuna.samplers.TPESampler(seed=drawn, constant_liar=True)
        return [self._fill(self.study.ask()) for _ in range(count)]

    def _fill(self, trial: Trial) -> Trial:
        lr, steps = self.usual.lr, self.usual.steps
        trial.suggest_float("lr", lr / WIDTH, lr * WIDTH, log=True)
        trial.suggest_int("steps", max(1, steps // STRETCH), steps * STRETCH, log=True)
        return trial

    def report(self, trial: Trial, done: int, loss: float) -> bool:
        """Tell of a look at the fixed-batch loss; whether to give the trial up."""
        trial.report(-loss, done)
        return bool(trial.should_prune()) and done < trial.params["steps"]

    def end(self, trial: Trial, value: float | None) -> None:
        """`value` is None for a trial that was given up or broke."""
        pruned = value is None or not math.isfinite(value)
        self.study.tell(trial, None if pruned else value, TrialState.PRUNED if pruned else TrialState.COMPLETE)

    def best(self) -> dict[str, Any] | None:
        """The settings of the best trial, None where none came to its end."""
        whole = self.study.get_trials(states=(TrialState.COMPLETE,))
        return rounded(max(whole, key=lambda trial: (trial.value, -trial.number)).params) if whole else None

    def table(self) -> list[Tried]:
        return [self._told(trial) for trial in self.study.trials if trial.state in _STATES]

    def _told(self, trial: FrozenTrial) -> Tried:
        looks = {str(step): -value for step, value in trial.intermediate_values.items()}
        value = trial.value if trial.state is TrialState.COMPLETE else None
        return Tried(self.method, trial.number, _STATES[trial.state], rounded(trial.params), looks, value)


_STATES = {TrialState.COMPLETE: "complete", TrialState.PRUNED: "pruned"}


def rounded(params: dict[str, Any]) -> dict[str, Any]:
    """As they are trained with and written down: a learning rate of three digits."""
    return {**params, "lr": float(f"{params['lr']:.3g}")}
