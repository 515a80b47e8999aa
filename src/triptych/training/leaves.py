"""The tensors that a network computes with, where they are not simply what an optimiser steps after the backward pass.

Gradients are handled as they come: they go to masters on another device, or their parameter is stepped at once and
they are dropped (arXiv:2306.09782, which calls it LOMO).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.utils.hooks import RemovableHandle

from ..errors import TriptychError
from ..methods import Training, WholeTraining
from .apart import Apart


class Leaves:
    """The leaves of a job, and the parameter that each of them stands for: mostly itself.

    Attributes:
        fused: the optimiser, if parameters are stepped in the backward pass.
        steps: whether a backward pass is that of a step. In others, gradients of fused leaves are dropped.
    """

    def __init__(self, leaves: Sequence[Tensor], parameters: Sequence[Tensor], fused: Apart | None) -> None:
        self.pairs = list(zip(leaves, parameters, strict=True))
        self.fused = fused
        self.steps = False
        self._hooks: list[RemovableHandle] = []

    def attach(self) -> None:
        """Let the leaves require gradients, and handle those."""
        for leaf, parameter in self.pairs:
            leaf.requires_grad_(True)
            if self.fused or leaf is not parameter:
                hook = leaf.register_post_accumulate_grad_hook(lambda leaf, own=parameter: self._arrived(leaf, own))
                self._hooks.append(hook)

    def detach(self) -> None:
        for hook in self._hooks:
            hook.remove()
        self._hooks = []
        for leaf, parameter in self.pairs:
            leaf.requires_grad_(False).grad = None
            parameter.grad = None

    @torch.no_grad()
    def refresh(self) -> None:
        """Copy the parameters that lie elsewhere to their leaves."""
        for leaf, parameter in self.pairs:
            if leaf is not parameter:
                leaf.copy_(parameter)

    @torch.no_grad()
    def _arrived(self, leaf: Tensor, parameter: Tensor) -> None:
        """Take the gradient of a leaf, which is complete for this pass."""
        gradient, leaf.grad = leaf.grad, None
        assert gradient is not None
        if leaf is not parameter:
            gradient = gradient.to(parameter)
        if not self.fused:
            parameter.grad = gradient if parameter.grad is None else parameter.grad.add_(gradient)
        elif self.steps:
            parameter.grad = gradient
            self.fused.step_one(parameter)
            parameter.grad = None
            if leaf is not parameter:
                leaf.copy_(parameter)


def check_steps(training: Training, method: str) -> None:
    """Check that the settings by which weights are held and stepped go together.

    Raises:
        TriptychError: a fused step would need all gradients, or an average would be kept in bfloat16.
    """
    if not isinstance(training, WholeTraining):
        return
    if training.fused and training.clip:
        raise TriptychError(
            f"{method}: a fused step cannot bound the norm of the whole gradient, which is never there as a whole; give"
            " clip=0, or leave fused out"
        )
    if training.fused and training.accumulate > 1:
        raise TriptychError(f"{method}: a fused step has one pass, so accumulate must be 1, not {training.accumulate}")
    if training.masters == "bf16" and training.ema:
        raise TriptychError(
            f"{method}: a moving average in bfloat16 would stand still; ema needs masters=fp32 or masters=cpu"
        )
