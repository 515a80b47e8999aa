"""One way to call any diffusers scheduler."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor


class Sampler:
    """A diffusers scheduler that is set to its steps. It keeps state, so one serves one batch of pictures."""

    def __init__(self, scheduler: Any) -> None:
        self.scheduler = scheduler
        self._takes_generator = "generator" in inspect.signature(scheduler.step).parameters

    @property
    def times(self) -> Tensor:
        """The times of its calls of the denoiser, in order [calls]."""
        times: Tensor = self.scheduler.timesteps
        return times

    def first(self, noise: Tensor) -> Tensor:
        """Standard normal noise as the latents that the first step takes."""
        return noise * float(getattr(self.scheduler, "init_noise_sigma", 1.0))

    def scaled(self, latents: Tensor, time: Tensor) -> Tensor:
        """Latents as the denoiser reads them."""
        scale = getattr(self.scheduler, "scale_model_input", None)
        scaled: Tensor = scale(latents, time) if scale else latents
        return scaled

    def step(self, predicted: Tensor, time: Tensor, latents: Tensor, randoms: Sequence[torch.Generator]) -> Tensor:
        """The latents after one step; `randoms` are the generators of its rows, for schedulers that add noise."""
        extra = {"generator": list(randoms)} if self._takes_generator else {}
        stepped: Tensor = self.scheduler.step(predicted, time, latents, **extra).prev_sample
        return stepped
