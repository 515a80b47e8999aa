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
        self._begin = 0
        self._takes_generator = "generator" in inspect.signature(scheduler.step).parameters

    @property
    def order(self) -> int:
        """How often the denoiser is called in a step."""
        return int(getattr(self.scheduler, "order", 1))

    @property
    def times(self) -> Tensor:
        """The times at which the denoiser is called, in order [calls]."""
        times: Tensor = self.scheduler.timesteps[self._begin :]
        return times

    def begin_at(self, step: int) -> None:
        """Leave out the first steps, for sampling that begins with a picture."""
        self._begin = step * self.order
        if step and hasattr(self.scheduler, "set_begin_index"):
            self.scheduler.set_begin_index(self._begin)

    def noised(self, clean: Tensor, noise: Tensor, call: int = 0) -> Tensor:
        """Clean latents with the noise that those of a call have; after the last call without any."""
        if call >= len(self.times):
            return clean
        add = getattr(self.scheduler, "scale_noise", None)
        if add is not None:
            noised: Tensor = add(clean, self.times[call : call + 1].expand(len(clean)), noise)
        else:
            noised = self.scheduler.add_noise(clean, noise, self.times[call : call + 1].expand(len(clean)))
        return noised

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
