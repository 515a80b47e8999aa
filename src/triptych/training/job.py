"""A job: one patch in training, with its random draws, its loss, its optimiser and its learning rates."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from itertools import chain

import torch
from torch import Tensor

from ..base import Owner, Process
from ..data.examples import Batch, Source
from ..methods import Training, WholeTraining
from .apart import Apart
from .draws import EMPTY, draw
from .fixed_loss import FixedLoss
from .leaves import Leaves
from .optimizers import kept_in_place, optimizer_for
from .rescue import Rescue
from .schedules import learning_rate


@dataclass
class Job:
    """One patch in training.

    Attributes:
        groups: the parameters by the name of their group; given are the tensors that the network computes with.
        masters: by the id of such a tensor, the parameter that stands for it and lies elsewhere.
        sources: what training samples its rows from, with the rows of a pass.
        begin: called at each step, with all that its random draws depend on.
        off: opens a block in which the patch does nothing.
        process: the noise process that it trains on.
        text_is_fixed: the patch does not change how prompts are encoded, so each is encoded once.
        fixed: the fixed-batch loss, if it is computed.
        rates: group -> learning rate, for groups that do not use `training.lr`.
        ends: group -> steps after which it is not trained any more, for groups that end before the others.
        losses: of each step done.
        averages: the moving averages of the parameters, if `training.ema` asks for them.
        failure: why the job failed.
        rescue: its last good state, if `training.rescue` asks for one.
        said: sentences for the user that are not shown yet.
    """

    owner: Owner
    groups: Mapping[str, Sequence[Tensor]]
    sources: Sequence[Source]
    process: Process
    training: Training
    seed: int
    begin: Callable[..., None] = lambda *draw: None
    off: Callable[[], AbstractContextManager[None]] = nullcontext
    text_is_fixed: bool = True
    fixed: FixedLoss | None = None
    rates: Mapping[str, float] = field(default_factory=dict)
    ends: Mapping[str, int] = field(default_factory=dict)
    losses: list[float] = field(default_factory=list)
    averages: list[Tensor] = field(default_factory=list)
    masters: Mapping[int, Tensor] = field(default_factory=dict)
    failure: str | None = None
    leaves: Leaves = field(init=False)
    rescue: Rescue = field(init=False)
    said: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        if not self.parameters:
            raise ValueError("nothing to train: the patch has no parameters")
        if unknown := (self.rates.keys() | self.ends.keys()) - self.groups.keys():
            raise ValueError(f"a learning rate or an end for {sorted(unknown)}, and groups are {sorted(self.groups)}")
        passes = self.training.accumulate
        self.sources = [replace(source, batch=source.batch * passes) for source in self.sources]
        leaves = self.parameters
        self.groups = {name: [self.masters.get(id(t), t) for t in group] for name, group in self.groups.items()}
        self.optimizer = optimizer_for(self.groups, self.training, self.seed)
        fused = isinstance(self.training, WholeTraining) and self.training.fused
        apart = self.optimizer if fused and isinstance(self.optimizer, Apart) else None
        self.leaves = Leaves(leaves, self.parameters, apart)
        self.rescue = Rescue(self.training.rescue)
        if self.training.ema:
            self.averages = [parameter.detach().clone() for parameter in self.parameters]

    @property
    def parameters(self) -> list[Tensor]:
        return list(chain(*self.groups.values()))

    @property
    def is_fused(self) -> bool:
        """Whether the backward pass steps the parameters, so that a step cannot be begun again."""
        return self.leaves.fused is not None

    @property
    def rows(self) -> int:
        """The rows of a step, of all its passes."""
        return sum(source.batch for source in self.sources)

    @property
    def prompts(self) -> list[str]:
        """All distinct prompts that the job can use."""
        fixed = self.fixed.batch.prompts if self.fixed else []
        return list(dict.fromkeys(chain(*(source.prompts for source in self.sources), fixed, self._empty)))

    @property
    def prompts_as_base(self) -> list[str]:
        """The distinct prompts of rows that aim at what the base predicts."""
        pairs = chain(*(zip(source.examples, source.prompts, strict=True) for source in self.sources))
        found = [prompt for example, prompt in pairs if example.as_base]
        return list(dict.fromkeys([*found, *self._empty])) if found else []

    @property
    def _empty(self) -> list[str]:
        return [EMPTY] if self.training.drop_captions else []

    def runs_at(self, step: int) -> bool:
        over = self.failure is not None or (self.fixed is not None and self.fixed.is_over)
        return step < self.training.steps and not over

    def draw(self, step: int) -> Batch:
        """Draw the rows of a step. They depend on the seed and the step alone, not on the method or on other jobs."""
        self.begin(self.seed, step)
        return draw(self.sources, self.training, self.seed, step, self.process)

    def loss(self, errors: Tensor, times: Tensor, rows: range) -> Tensor:
        """The share of some of the step's rows in its loss: the sum over the sources of weight x mean error.

        Args:
            errors: of these rows.
            times: of these rows.
            rows: their indices among the rows of the step.
        """
        if self.training.min_snr:
            errors = errors * self.process.weights(times, self.training.min_snr)
        elif self.training.debiased:
            errors = errors * self.process.debiased(times)
        parts, end = [], 0
        for source in self.sources:
            first, end = end, end + source.batch
            own = errors[max(first, rows.start) - rows.start : max(end - rows.start, 0)]
            if len(own):
                parts.append(source.weight * (own.sum() / source.batch))
        return torch.stack(parts).sum()

    def step(self, step: int, loss: float, scaler: torch.amp.GradScaler) -> None:
        """Clip the gradients and update the parameters. If the loss is not finite, record a failure instead."""
        if math.isfinite(loss):
            if not self.is_fused:
                self.set_rates(self.optimizer, step)
                for tensor in chain(*(self.groups[name] for name, end in self.ends.items() if step >= end)):
                    tensor.grad = None
                scaler.unscale_(self.optimizer)
                clip(self.parameters, self.training.greatest_norm)
                scaler.step(self.optimizer)
                self.leaves.refresh()
        elif not self.go_back():
            self.failure = f"its loss stopped being a number at step {step + 1}; try a lower learning rate"
        self.optimizer.zero_grad(set_to_none=True)
        self.stepped(loss)

    @contextmanager
    def moving(self, step: int) -> Iterator[None]:
        """Inside the block the backward pass steps the parameters of a fused job."""
        if self.is_fused:
            self.set_rates(self.optimizer, step)
        self.leaves.steps = True
        try:
            yield
        finally:
            self.leaves.steps = False

    def looked_at(self, done: int, loss: float) -> None:
        """Take the fixed-batch loss after `done` steps. Where it shows a collapse, go back to the last good state."""
        if not self.training.rescue:
            return
        if self.rescue.is_good(loss):
            self.rescue.keep(done, loss, self.parameters, self.optimizer, self.averages)
        elif not self.go_back():
            self.failure = f"it collapsed again at step {done}; try a lower learning rate"

    def go_back(self) -> bool:
        """Go back to the last good state, if there is one, and say so."""
        said = self.rescue.go_back(self.parameters, self.optimizer, self.averages)
        if said:
            self.leaves.refresh()
            self.said.append(f"{self.owner}: {said}" if self.owner else said)
        return bool(said)

    def sentences(self) -> list[str]:
        """What is to be shown to the user since the last call."""
        found, self.said = self.said, []
        return found

    @torch.no_grad()
    def stepped(self, loss: float) -> None:
        """Record the loss of a step that is done, and follow the parameters with their averages.

        The decay rises to `training.ema` over the first steps, as (1 + n) / (10 + n), so the start is soon forgotten.
        """
        self.losses.append(loss)
        if self.averages and self.failure is None:
            done = len(self.losses)
            decay = min(self.training.ema, (1 + done) / (10 + done))
            torch._foreach_lerp_(self.averages, [each.detach() for each in self.parameters], 1 - decay)

    @contextmanager
    def as_kept(self) -> Iterator[None]:
        """Inside the block the parameters have the values that the artifact keeps, such as their averages."""
        try:
            with kept_in_place(self.optimizer, self.parameters, self.averages):
                self.leaves.refresh()
                yield
        finally:
            self.leaves.refresh()

    def set_rates(self, optimizer: torch.optim.Optimizer, step: int) -> None:
        """Set the learning rates of a step. The optimiser's groups have the names of this job's groups."""
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(self.training, step, self.rates.get(group["name"])) * self.rescue.slower


def clip(parameters: Iterable[Tensor], most: float) -> None:
    """Scale the gradients so that their total norm is at most `most`. Gradients below it are not touched."""
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    norm = torch.nn.utils.get_total_norm(gradients)
    if not bool(most / (norm + 1e-6) >= 1):
        torch.nn.utils.clip_grads_with_norm_(parameters, most, norm)
