"""Brings a job back that has collapsed: to its last good state, at half the learning rate.

A hypernetwork can lose everything within a few steps, without an error. The fixed-batch loss shows it. A state is good
where that loss is at most `training.rescue` times its lowest value so far.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

MOST = 5  # rescues, after which a collapse is a failure
State = Sequence[Mapping[str, Tensor]]


@dataclass
class Rescue:
    """The last good state of a job.

    Attributes:
        most: times the lowest fixed-batch loss, above which a job has collapsed.
        lowest: the lowest fixed-batch loss so far.
        good: for each parameter, its value ("") and the tensors of its optimiser's state by name.
        averages: the moving averages of the parameters, if the job has them.
        step: the steps done at the last good state.
        count: rescues so far.
    """

    most: float
    lowest: float = math.inf
    good: list[dict[str, Tensor]] = field(default_factory=list)
    averages: list[Tensor] = field(default_factory=list)
    step: int = 0
    count: int = 0

    @property
    def slower(self) -> float:
        """The factor of all learning rates."""
        return 0.5**self.count

    def is_good(self, loss: float) -> bool:
        return loss <= self.most * self.lowest

    def keep(
        self,
        done: int,
        loss: float,
        parameters: Sequence[Tensor],
        optimizer: torch.optim.Optimizer,
        averages: Sequence[Tensor] = (),
    ) -> None:
        """Keep the current state as the last good one."""
        self.lowest, self.step = min(self.lowest, loss), done
        self.good = [
            {name: value.detach().clone() for name, value in _values(parameter, optimizer).items()}
            for parameter in parameters
        ]
        self.averages = [average.clone() for average in averages]

    @torch.no_grad()
    def go_back(
        self, parameters: Sequence[Tensor], optimizer: torch.optim.Optimizer, averages: Sequence[Tensor] = ()
    ) -> str:
        """Restore the last good state. Returns a sentence; "" if the job cannot be rescued."""
        if not self.good or self.count == MOST:
            return ""
        for parameter, kept in zip(parameters, self.good, strict=True):
            for name, value in _values(parameter, optimizer).items():
                value.copy_(kept[name]) if name in kept else value.zero_()
        for average, good in zip(averages, self.averages, strict=True):
            average.copy_(good)
        self.count += 1
        return f"it collapsed: back to step {self.step}, and on with {self.slower:g} of the learning rate"


def _values(parameter: Tensor, optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """A parameter, and the tensors of its optimiser's state that have a size; counts of steps go on."""
    state = optimizer.state.get(parameter, {})
    sized = {name: value.data for name, value in state.items() if isinstance(value, Tensor) and value.dim()}
    return {"": parameter.data, **sized}
