"""An optimiser for each parameter, so that each can step by itself, and none needs more room than its own.

It steps parameters in the backward pass, as their gradients come (`Leaves`), and parameters in bfloat16: a float32 copy
of one of them at a time is stepped, and rounded back at random.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import chain
from typing import Any

import torch
from torch import Tensor, nn

from ..base import seed_of
from ..errors import TriptychError
from ..methods import Training
from .rounding import rounded

SEPARABLE = ("adamw", "adamw8bit", "adafactor", "lion", "came")  # whose step of a parameter needs no other parameter
FACTORED = ("adafactor", "came")  # which keep sums over rows and columns of a matrix
Make = Callable[[Mapping[str, Sequence[Tensor]], Training], torch.optim.Optimizer]


class Apart(torch.optim.Optimizer):
    """One optimiser for each parameter, behind the interface of one for them all.

    Factored optimisers see a convolution as a matrix of outputs by all else; else they would keep two thirds of it.
    """

    def __init__(self, groups: Mapping[str, Sequence[Tensor]], training: Training, seed: int, make: Make) -> None:
        """`make` makes the optimiser of one parameter.

        Raises:
            TriptychError: the optimiser steps all its parameters together.
        """
        if training.optimizer not in SEPARABLE:
            raise TriptychError(
                f"the optimiser {training.optimizer} steps all its parameters together, which fused and masters=bf16 do"
                f" not; take one of {', '.join(SEPARABLE)}"
            )
        named = [{"params": list(group), "name": name} for name, group in groups.items()]
        super().__init__(named, {"lr": training.lr})
        self.seed, self.flat = seed, training.optimizer in FACTORED
        self.parameters: list[Tensor] = list(chain(*groups.values()))
        self.places = {id(parameter): place for place, parameter in enumerate(self.parameters)}
        self.slots = [nn.Parameter(torch.empty(0, device=p.device), requires_grad=True) for p in self.parameters]
        names = [name for name, group in groups.items() for _ in group]
        self.each = [make({name: [slot]}, training) for name, slot in zip(names, self.slots, strict=True)]
        self.owning = [group for group in self.param_groups for _ in group["params"]]
        self.counts = [0] * len(self.parameters)  # steps done

    @torch.no_grad()
    def step_one(self, parameter: Tensor) -> None:
        """Step one parameter by its gradient."""
        place = self.places[id(parameter)]
        slot, inner = self.slots[place], self.each[place]
        gradient = parameter.grad
        assert gradient is not None
        slot.data = self._shaped(parameter.data.float())
        slot.grad = self._shaped(gradient.float()).to(slot.dtype)
        inner.param_groups[0]["lr"] = self.owning[place]["lr"]
        inner.step()
        if slot.data_ptr() != parameter.data_ptr():
            values = slot.data.reshape(parameter.shape)
            seed = seed_of("rounding", self.seed, self.counts[place], place)
            parameter.data.copy_(rounded(values, seed) if parameter.dtype is torch.bfloat16 else values)
        self.state[parameter] = inner.state[slot]
        self.counts[place] += 1
        slot.data, slot.grad = torch.empty(0, device=slot.device), None

    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """Step all parameters that have a gradient, one after the other."""
        for parameter in self.parameters:
            if parameter.grad is not None:
                self.step_one(parameter)

    def state_dict(self) -> dict[str, Any]:
        return {"each": [inner.state_dict() for inner in self.each], "counts": self.counts}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        for inner, own in zip(self.each, state_dict["each"], strict=True):
            inner.load_state_dict(own)
        self.counts = list(state_dict["counts"])
        for parameter, slot, inner in zip(self.parameters, self.slots, self.each, strict=True):
            if slot in inner.state:
                self.state[parameter] = inner.state[slot]

    def _shaped(self, tensor: Tensor) -> Tensor:
        return tensor.flatten(1) if self.flat and tensor.dim() > 2 else tensor
