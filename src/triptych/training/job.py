"""One patch in training: what it draws at each step, its loss, its optimiser and its learning rate."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
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
    """One patch in training: its parameters, its own optimiser, its own draws, its own schedule.

    `groups` are its parameters by the name of their group; `rates` gives some groups a learning rate of their own.
    """

    owner: Owner
    groups: Mapping[str, Sequence[Tensor]]
    sources: Sequence[Source]
    training: Training
    seed: int
    text_is_fixed: bool = True  # the patch leaves the encoding of prompts alone, so each is encoded once
    fixed: FixedLoss | None = None
    rates: Mapping[str, float] = field(default_factory=dict)
    losses: list[float] = field(default_factory=list)
    failure: str | None = None
    sent_away: bool = False  # by whoever watches the pass

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
        """All it may ever show, each once."""
        fixed = self.fixed.batch.prompts if self.fixed else []
        return list(dict.fromkeys(chain(*(source.prompts for source in self.sources), fixed)))

    def runs_at(self, step: int) -> bool:
        over = self.sent_away or self.failure is not None or (self.fixed is not None and self.fixed.is_over)
        return step < self.training.steps and not over

    def draw(self, step: int, process: Process) -> Batch:
        """A step's rows: a function of the seed and the step, not of the method or of who else is in the pass."""
        drawn = [draw_rows(source, self.seed, step, process) for source in self.sources]
        return Batch(
            list(chain(*(batch.examples for batch in drawn))), list(chain(*(batch.noise for batch in drawn))),
            torch.cat([batch.times for batch in drawn]), list(chain(*(batch.prompts for batch in drawn))),
        )  # fmt: skip

    def loss(self, squared: Tensor) -> Tensor:
        """The sum over sources of weight x mean, of this job's squared errors [rows]."""
        parts = squared.split([source.batch for source in self.sources])
        means = [source.weight * part.mean() for source, part in zip(self.sources, parts, strict=True)]
        return torch.stack(means).sum()

    def step(self, step: int, loss: float, scaler: torch.amp.GradScaler) -> None:
        """Clip and move, unless the loss is no longer a number."""
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
        """Give the optimiser, whose groups are called as this job's, the learning rates of a step."""
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(self.training, step, self.rates.get(group["name"]))


def adamw(groups: Mapping[str, Sequence[Tensor]], training: Training) -> torch.optim.AdamW:
    """AdamW over named groups of parameters, in one fused call a group where the device has it."""
    first = next(iter(chain(*groups.values())))
    return torch.optim.AdamW(
        [{"params": list(group), "name": name} for name, group in groups.items()],
        lr=training.lr,
        weight_decay=training.weight_decay,
        fused=first.device.type in ("cpu", "cuda") and first.is_floating_point(),
    )


def clip(parameters: Iterable[Tensor], most: float) -> None:
    """Scale the gradients so that their norm is at most `most`; leave them alone where it is."""
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    norm = torch.nn.utils.get_total_norm(gradients)
    if not bool(most / (norm + 1e-6) >= 1):
        torch.nn.utils.clip_grads_with_norm_(parameters, most, norm)


def learning_rate(training: Training, step: int, rate: float | None = None) -> float:
    """Linear warm-up to `rate` (default: `training.lr`), then constant or half a cosine to zero (arXiv:1608.03983)."""
    rise = min(1.0, (step + 1) / training.warmup) if training.warmup else 1.0
    fall = 0.5 + 0.5 * math.cos(math.pi * step / training.steps) if training.schedule == "cosine" else 1.0
    return (training.lr if rate is None else rate) * rise * fall


def draw_rows(source: Source, seed: int, step: int, process: Process) -> Batch:
    """The rows a source gives at a step: its pictures in shuffled rounds, fresh noise, times drawn by the process."""
    count, first = len(source.examples), step * source.batch
    rounds: dict[int, list[int]] = {}
    chosen = []
    for place in range(first, first + source.batch):
        turn, position = divmod(place, count)
        if turn not in rounds:
            order = generator("order", source.purpose, seed, turn)
            rounds[turn] = torch.randperm(count, generator=order).tolist()
        chosen.append(rounds[turn][position])
    random = generator("train", source.purpose, seed, step)
    rows = [source.examples[i] for i in chosen]
    first_latent = rows[0].latent
    sizes = [row.latent.numel() for row in rows]
    drawn = torch.randn(sum(sizes), generator=random, dtype=first_latent.dtype).to(first_latent.device).split(sizes)
    noise = [part.view(row.latent.shape) for part, row in zip(drawn, rows, strict=True)]
    times = process.times(source.batch, random).to(first_latent.device)
    return Batch(rows, noise, times, [source.prompts[i] for i in chosen])
