"""The loss on one fixed batch: what training does not see, with the same noise and timesteps at every look.

The training loss says little, because what it is drawn from (pictures, noise, timesteps) differs more from step to step
than learning changes it. On a fixed batch the change shows, and that is what a training is stopped by and what its best
moment is chosen by (DVAR, "Is This Loss Informative?", arXiv:2302.04841). The rows are the same for every method that
learns one concept, but for the words that name it, and are not weighted: their curves can be laid on each other.

By default nothing is chosen by it (`keep` is "last", `patience` 0). A schedule that ends at a rate of 0 is meant to be
run to its end; the loss is lowest before a concept is learned best, since it counts every pixel and not the likeness;
and in a study a method that chooses learns from fewer pictures, since those it chooses by neither train nor judge.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from statistics import fmean

import torch
from torch import Tensor

from ..base import Process, generator
from ..data.examples import Batch, Examples
from ..errors import TriptychError
from ..methods import Training
from ..patching.patch import Tensors

ROWS = 8  # of a fixed batch: with a look every 25 steps of 4 rows, some 3 % of the time that training takes
SMOOTHED = 3  # looks, this one and those before it, whose mean is compared


def fixed_batch(examples: Examples, phrase: str, process: Process) -> Batch:
    """`ROWS` rows: the pictures in turn, noise that depends on the row alone, times spread over the process.

    Args:
        examples: the pictures, held out of training where there are such.
        phrase: how the method names the concept.
        process: the base's noise process.
    """
    prompts = examples.prompts(phrase)
    chosen = [i % len(examples) for i in range(ROWS)]
    rows = [examples.each[i] for i in chosen]
    noise = [_noise(row, example.latent) for row, example in enumerate(rows)]
    return Batch(rows, noise, process.spread(ROWS).to(rows[0].latent.device), [prompts[i] for i in chosen])


def _noise(row: int, latent: Tensor) -> Tensor:
    return torch.randn(latent.shape, generator=generator("fixed", row), dtype=latent.dtype).to(latent.device)


@dataclass
class FixedLoss:
    """The fixed-batch loss of one job: its curve, and what it decides.

    `curve` has a point (steps done, mean squared error) for the start, for every `training.fixed_every` steps and for
    the end. `best` are the tensors of the best look, where `training.keep` asks for them: one copy of what the artifact
    keeps, in its type (for DreamBooth the difference in float16), beside what is being trained.
    """

    batch: Batch
    training: Training
    snapshot: Callable[[], Tensors]
    curve: list[tuple[int, float]] = field(default_factory=list)
    best: Tensors = field(default_factory=dict)

    def due(self, done: int) -> bool:
        """Whether to look after so many steps."""
        return done % self.training.fixed_every == 0 or done == self.training.steps

    def note(self, done: int, loss: float) -> None:
        self.curve.append((done, loss))
        if self.training.keep == "best" and self.best_step == done and done:
            self.best = self.snapshot()

    @property
    def best_step(self) -> int:
        """The look with the lowest smoothed loss, as the steps done by then; the start is none, for it learned nothing.

        Smoothed: the mean over the last `SMOOTHED` looks.
        """
        looks = [(done, loss if math.isfinite(loss) else math.inf) for done, loss in self.curve if done]
        means = [fmean(loss for _, loss in looks[max(0, i + 1 - SMOOTHED) : i + 1]) for i in range(len(looks))]
        return looks[means.index(min(means))][0] if looks else 0

    @property
    def is_over(self) -> bool:
        """Whether the loss has not fallen for `training.patience` looks."""
        since = sum(done > self.best_step for done, _ in self.curve)
        return 0 < self.training.patience <= since


def check(training: Training, method: str) -> None:
    """
    Raises:
        TriptychError: the settings choose by a loss that they do not look at.
    """
    if training.chooses and not training.fixed_every:
        raise TriptychError(
            f"{method}: keep=best and patience go by the fixed-batch loss, so fixed_every must be 1 or more"
        )
