"""One interface to all diffusers schedulers."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor


class Sampler:
    """A diffusers scheduler with its timesteps set. It has state, so every batch needs a new one."""

    def __init__(self, scheduler: Any) -> None:
        self.scheduler = scheduler
        self._takes_generator = "generator" in inspect.signature(scheduler.step).parameters

    @property
    def times(self) -> Tensor:
        """The times at which the denoiser is called, in order [calls]."""
        times: Tensor = self.scheduler.timesteps
        return times

    def first(self, noise: Tensor) -> Tensor:
        """The initial latents, from standard normal noise."""
        return noise * float(getattr(self.scheduler, "init_noise_sigma", 1.0))

    def scaled(self, latents: Tensor, time: Tensor) -> Tensor:
        """Latents scaled for the denoiser's input."""
        scale = getattr(self.scheduler, "scale_model_input", None)
        scaled: Tensor = scale(latents, time) if scale else latents
        return scaled

    def step(self, predicted: Tensor, time: Tensor, latents: Tensor, randoms: Sequence[torch.Generator]) -> Tensor:
        """The latents after one step. `randoms` has a generator per row, for schedulers that add noise."""
        extra = {"generator": list(randoms)} if self._takes_generator else {}
        stepped: Tensor = self.scheduler.step(predicted, time, latents, **extra).prev_sample
        return stepped
