"""A job: one patch in training, with its random draws, its loss, its optimiser and its learning rates."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain

import torch
from torch import Tensor

from ..base import Owner, Process, generator
from ..data.examples import Batch, Source
from ..methods import Training
from .fixed_loss import FixedLoss


@dataclass
class Job:
    """One patch in training.

    Attributes:
        groups: the parameters by the name of their group.
        sources: what training samples its rows from.
        text_is_fixed: the patch does not change how prompts are encoded, so each is encoded once.
        fixed: the fixed-batch loss, if it is computed.
        rates: group -> learning rate, for groups that do not use `training.lr`.
        losses: of each step done.
        failure: why the job failed.
        stopped_early: whether `stop_early` of the training loop ended the job.
        after_step: called after each step with the steps done; it must not change the training.
    """

    owner: Owner
    groups: Mapping[str, Sequence[Tensor]]
    sources: Sequence[Source]
    training: Training
    seed: int
    text_is_fixed: bool = True
    fixed: FixedLoss | None = None
    rates: Mapping[str, float] = field(default_factory=dict)
    losses: list[float] = field(default_factory=list)
    failure: str | None = None
    stopped_early: bool = False
    after_step: Callable[[int], None] | None = None

    def __post_init__(self) -> None:
        if not self.parameters:
            raise ValueError("nothing to train: the patch has no parameters")
        if unknown := self.rates.keys() - self.groups.keys():
            raise ValueError(f"a learning rate for {sorted(unknown)}, where the groups are {sorted(self.groups)}")
        self.optimizer = adamw(self.groups, self.training)

    @property
    def parameters(self) -> list[Tensor]:
        return list(chain(*self.groups.values()))

    @property
    def rows(self) -> int:
        return sum(source.batch for source in self.sources)

    @property
    def prompts(self) -> list[str]:
        """All distinct prompts that the job can use."""
        fixed = self.fixed.batch.prompts if self.fixed else []
        return list(dict.fromkeys(chain(*(source.prompts for source in self.sources), fixed)))

    def runs_at(self, step: int) -> bool:
        over = self.stopped_early or self.failure is not None or (self.fixed is not None and self.fixed.is_over)
        return step < self.training.steps and not over

    def draw(self, step: int, process: Process) -> Batch:
        """Draw the rows of a step. They depend on the seed and the step alone, not on the method or on other jobs."""
        drawn = [draw_rows(source, self.seed, step, process) for source in self.sources]
        return Batch(
            list(chain(*(batch.examples for batch in drawn))), list(chain(*(batch.noise for batch in drawn))),
            torch.cat([batch.times for batch in drawn]), list(chain(*(batch.prompts for batch in drawn))),
        )  # fmt: skip

    def loss(self, squared: Tensor) -> Tensor:
        """The sum over the sources of weight x mean squared error, from this job's squared errors [rows]."""
        parts = squared.split([source.batch for source in self.sources])
        means = [source.weight * part.mean() for source, part in zip(self.sources, parts, strict=True)]
        return torch.stack(means).sum()

    def step(self, step: int, loss: float, scaler: torch.amp.GradScaler) -> None:
        """Clip the gradients and update the parameters. If the loss is not finite, record a failure instead."""
        if math.isfinite(loss):
            self.set_rates(self.optimizer, step)
            scaler.unscale_(self.optimizer)
            clip(self.parameters, self.training.clip)
            scaler.step(self.optimizer)
        else:
            self.failure = f"its loss stopped being a number at step {step + 1}; try a lower learning rate"
        self.optimizer.zero_grad(set_to_none=True)
        self.losses.append(loss)

    def set_rates(self, optimizer: torch.optim.Optimizer, step: int) -> None:
        """Set the learning rates of a step. The optimiser's groups have the names of this job's groups."""
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(self.training, step, self.rates.get(group["name"]))


def adamw(groups: Mapping[str, Sequence[Tensor]], training: Training) -> torch.optim.AdamW:
    """AdamW over named groups of parameters, fused if the device supports it."""
    first = next(iter(chain(*groups.values())))
    return torch.optim.AdamW(
        [{"params": list(group), "name": name} for name, group in groups.items()],
        lr=training.lr,
        weight_decay=training.weight_decay,
        fused=first.device.type in ("cpu", "cuda") and first.is_floating_point(),
    )


def clip(parameters: Iterable[Tensor], most: float) -> None:
    """Scale the gradients so that their total norm is at most `most`. Gradients below it are not touched."""
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    norm = torch.nn.utils.get_total_norm(gradients)
    if not bool(most / (norm + 1e-6) >= 1):
        torch.nn.utils.clip_grads_with_norm_(parameters, most, norm)


def learning_rate(training: Training, step: int, rate: float | None = None) -> float:
    """The learning rate of a step: linear warm-up times a constant or a cosine to zero (arXiv:1608.03983, equation 5).

    `rate` is the peak; by default `training.lr`.
    """
    rise = min(1.0, (step + 1) / training.warmup) if training.warmup else 1.0
    fall = 0.5 + 0.5 * math.cos(math.pi * step / training.steps) if training.schedule == "cosine" else 1.0
    return (training.lr if rate is None else rate) * rise * fall


def draw_rows(source: Source, seed: int, step: int, process: Process) -> Batch:
    """Draw the rows of a source at a step: pictures in shuffled epochs, new noise, times by the noise process."""
    count, first = len(source.examples), step * source.batch
    orders: dict[int, list[int]] = {}
    chosen = []
    for place in range(first, first + source.batch):
        epoch, position = divmod(place, count)
        if epoch not in orders:
            random = generator("order", source.purpose, seed, epoch)
            orders[epoch] = torch.randperm(count, generator=random).tolist()
        chosen.append(orders[epoch][position])
    random = generator("train", source.purpose, seed, step)
    rows = [source.examples[i] for i in chosen]
    first_latent = rows[0].latent
    sizes = [row.latent.numel() for row in rows]
    drawn = torch.randn(sum(sizes), generator=random, dtype=first_latent.dtype).to(first_latent.device).split(sizes)
    noise = [part.view(row.latent.shape) for part, row in zip(drawn, rows, strict=True)]
    times = process.times(source.batch, random).to(first_latent.device)
    return Batch(rows, noise, times, [source.prompts[i] for i in chosen])
