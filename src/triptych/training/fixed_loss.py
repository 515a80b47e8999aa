"""The fixed-batch loss: the loss on pictures, noise and times that stay the same during a training.

The training loss shows little, since its random pictures, noise and times vary more from step to step than learning
changes it. On a fixed batch the change is visible. It can stop a training early or choose its best step (DVAR, "Is This
Loss Informative?", arXiv:2302.04841). Except for the words that name the concept, the rows are the same for all methods
that learn it, and they are not weighted, so the curves of methods can be compared.

By default the fixed-batch loss decides nothing (`keep` is "last", `patience` is 0), for three reasons. A schedule that
ends at a learning rate of 0 is meant to run to its end. The loss is lowest before a concept is learned best, since it
counts pixels and not likeness. And in a study, a method that chooses by it trains on fewer pictures, since the pictures
to choose by neither train nor judge.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import zip_longest
from statistics import fmean

import torch
from torch import Tensor

from ..base import Process, generator
from ..data.examples import Batch, Examples
from ..errors import TriptychError
from ..methods import Training
from ..patching.patch import Tensors

ROWS = 8  # of a fixed batch; evaluated every 25 steps of 4 rows, it takes about 3 % of the training time
SMOOTHED = 3  # evaluations whose mean is compared: the current one and those before it


def fixed_batch(concepts: Sequence[tuple[Examples, str]], process: Process) -> Batch:
    """A batch of `ROWS` rows: the pictures in turn, noise that depends on the row alone, times spread over the process.

    Args:
        concepts: the pictures of each, held out of training, if there are any; and how the method names it.
        process: the base's noise process.
    """
    own = [zip(examples.each, examples.prompts(phrase), strict=True) for examples, phrase in concepts]
    pairs = [pair for turn in zip_longest(*own) for pair in turn if pair]  # the concepts in turn
    chosen = [i % len(pairs) for i in range(ROWS)]
    rows = [pairs[i][0] for i in chosen]
    noise = [_noise(row, example.latent) for row, example in enumerate(rows)]
    return Batch(rows, noise, process.spread(ROWS).to(rows[0].latent.device), [pairs[i][1] for i in chosen])


def _noise(row: int, latent: Tensor) -> Tensor:
    return torch.randn(latent.shape, generator=generator("fixed", row), dtype=latent.dtype).to(latent.device)


@dataclass
class FixedLoss:
    """The fixed-batch loss of one job, and the decisions by it.

    Attributes:
        curve: points (steps done, mean squared error) at the start, every `training.fixed_every` steps, and at the end.
        best: the tensors at the best evaluation, if `training.keep` is "best": a copy of what the artifact keeps, in
            its data type (for DreamBooth the float16 difference).
    """

    batch: Batch
    training: Training
    snapshot: Callable[[], Tensors]
    curve: list[tuple[int, float]] = field(default_factory=list)
    best: Tensors = field(default_factory=dict)

    def due(self, done: int) -> bool:
        """Whether to evaluate the loss after `done` steps."""
        return done % self.training.fixed_every == 0 or done == self.training.steps

    def note(self, done: int, loss: float) -> None:
        self.curve.append((done, loss))
        if self.training.keep == "best" and self.best_step == done and done:
            self.best = self.snapshot()

    @property
    def best_step(self) -> int:
        """The steps done at the evaluation with the lowest smoothed loss; the start does not count.

        The smoothed loss is the mean of the last `SMOOTHED` evaluations.
        """
        points = [(done, loss if math.isfinite(loss) else math.inf) for done, loss in self.curve if done]
        means = [fmean(loss for _, loss in points[max(0, i + 1 - SMOOTHED) : i + 1]) for i in range(len(points))]
        return points[means.index(min(means))][0] if points else 0

    @property
    def is_over(self) -> bool:
        """Whether the loss has not fallen for `training.patience` evaluations."""
        if not self.training.patience:
            return False
        best = self.best_step
        return sum(done > best for done, _ in self.curve) >= self.training.patience


def check(training: Training, method: str) -> None:
    """Check that the settings go together.

    Raises:
        TriptychError: they decide by the fixed-batch loss and do not compute it, or weight the loss twice.
    """
    if training.min_snr and training.debiased:
        raise TriptychError(f"{method}: min_snr and debiased are two weightings of one loss; give one of them")
    if 0 < training.rescue <= 1:
        raise TriptychError(f"{method}: rescue is above 1, times the lowest fixed-batch loss, not {training.rescue:g}")
    if training.chooses and not training.fixed_every:
        raise TriptychError(
            f"{method}: keep=best and patience go by the fixed-batch loss, so fixed_every must be 1 or more"
        )
