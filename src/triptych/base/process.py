"""The noise process of a base: how noise is added, what the denoiser predicts, and how it is sampled.

Training, the fixed-batch loss and sampling ask the base's `Process` and nothing else. Two kinds are here: `Ddpm`, the
discrete process of arXiv:2006.11239, and `Flow`, the straight paths of rectified flow (arXiv:2209.03003).

Letters: x is a clean latent, e the noise, t the time that the denoiser reads, from 0 (clean) to `length`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor

from ..errors import TriptychError
from .sampler import Sampler

VELOCITY = "v_prediction"


class Process(ABC):
    """A noise process: times, noise, targets, loss weights, samplers.

    Latents are [rows, channels, height, width], times are [rows]. `schedule` is the diffusers scheduler of the base
    folder.
    """

    schedule: Any

    @property
    @abstractmethod
    def prediction(self) -> str:
        """The prediction type, as diffusers calls it: "epsilon", "v_prediction" or "flow_prediction"."""

    @property
    def length(self) -> int:
        """The time of pure noise, and the largest number of sampling steps."""
        return int(self.schedule.config.num_train_timesteps)

    @abstractmethod
    def times(self, rows: int, random: torch.Generator) -> Tensor:
        """Random training times [rows], from the distribution that the base was trained with."""

    @abstractmethod
    def spread(self, rows: int) -> Tensor:
        """Times [rows] in the middle of `rows` equal parts of the process, least noise first."""

    @abstractmethod
    def noised(self, clean: Tensor, noise: Tensor, times: Tensor) -> Tensor:
        """Add noise to clean latents."""

    @abstractmethod
    def target(self, clean: Tensor, noise: Tensor, times: Tensor) -> Tensor:
        """The target of the denoiser's prediction."""

    @abstractmethod
    def clean(self, predicted: Tensor, noisy: Tensor, times: Tensor) -> Tensor:
        """The clean latents that a prediction implies."""

    @abstractmethod
    def noise(self, predicted: Tensor, noisy: Tensor, times: Tensor) -> Tensor:
        """The noise that a prediction implies."""

    @abstractmethod
    def weights(self, times: Tensor, gamma: float) -> Tensor:
        """Loss weights [rows] by min-SNR (arXiv:2303.09556): min(SNR, gamma) on the error of the clean latent,
        converted to the error of the prediction."""

    @abstractmethod
    def debiased(self, times: Tensor) -> Tensor:
        """Loss weights [rows] by debiased estimation (arXiv:2310.08442, equation 11): 1 / sqrt(SNR) on the error of the
        noise, converted to the error of the prediction."""

    @abstractmethod
    def zero_terminal(self) -> Process:
        """The same process with zero terminal SNR: it ends at pure noise (arXiv:2305.08891, algorithm 1).

        Raises:
            TriptychError: the prediction says nothing at pure noise, or the process ends there already.
        """

    @abstractmethod
    def sigmas(self, steps: int) -> Tensor:
        """Noise levels [steps + 1] of `steps` Euler steps, from the largest to 0."""

    @abstractmethod
    def sampler(self, kind: str, options: Mapping[str, Any], steps: int, device: torch.device) -> Sampler:
        """A new sampler with `steps` steps.

        Args:
            kind: the name of a diffusers scheduler class.
            options: arguments that override the base's own configuration.

        Raises:
            TriptychError: that scheduler cannot sample this process.
        """


class Ddpm(Process):
    """The process of Stable Diffusion 1, 2 and XL: sqrt(a) x + sqrt(1 - a) e, where a falls with t.

    `a` is the cumulative product of diffusers' `alphas_cumprod` (arXiv:2006.11239, equation 4). A schedule with zero
    terminal SNR (arXiv:2305.08891) ends at a = 0, where only a predicted velocity depends on x.

    Args:
        schedule: diffusers' `DDPMScheduler`.
    """

    def __init__(self, schedule: Any) -> None:
        self.schedule = schedule

    @property
    def prediction(self) -> str:
        return str(self.schedule.config.prediction_type)

    def times(self, rows: int, random: torch.Generator) -> Tensor:
        return torch.randint(0, self.length, (rows,), generator=random)

    def spread(self, rows: int) -> Tensor:
        return torch.tensor([(2 * row + 1) * self.length // (2 * rows) for row in range(rows)])

    def noised(self, clean: Tensor, noise: Tensor, times: Tensor) -> Tensor:
        noisy: Tensor = self.schedule.add_noise(clean, noise, _nearest(times))
        return noisy

    def target(self, clean: Tensor, noise: Tensor, times: Tensor) -> Tensor:
        """The noise, or the velocity sqrt(a) e - sqrt(1 - a) x (arXiv:2202.00512, appendix D)."""
        if self.prediction == VELOCITY:
            velocity: Tensor = self.schedule.get_velocity(clean, noise, times)
            return velocity
        return noise

    def clean(self, predicted: Tensor, noisy: Tensor, times: Tensor) -> Tensor:
        kept = _over_pixels(self._kept(times), noisy)
        if self.prediction == VELOCITY:
            return kept.sqrt() * noisy - (1 - kept).sqrt() * predicted
        return (noisy - (1 - kept).sqrt() * predicted) / kept.sqrt()

    def noise(self, predicted: Tensor, noisy: Tensor, times: Tensor) -> Tensor:
        if self.prediction != VELOCITY:
            return predicted
        kept = _over_pixels(self._kept(times), noisy)
        return kept.sqrt() * predicted + (1 - kept).sqrt() * noisy

    def weights(self, times: Tensor, gamma: float) -> Tensor:
        """min(SNR, gamma) / SNR for noise, min(SNR, gamma) / (SNR + 1) for velocity (arXiv:2303.09556, 3.4)."""
        kept = self._kept(times)
        snr = (kept / (1 - kept)).clamp(min=torch.finfo(kept.dtype).tiny)  # 0 at zero terminal SNR
        return snr.clamp(max=gamma) / (snr + 1 if self.prediction == VELOCITY else snr)

    def debiased(self, times: Tensor) -> Tensor:
        """1 / sqrt(SNR) for noise, at most 1000; sqrt(a (1 - a)) for velocity: noise is off by sqrt(a) of it."""
        kept = self._kept(times)
        if self.prediction == VELOCITY:
            return (kept * (1 - kept)).sqrt()
        return ((1 - kept) / kept).sqrt().clamp(max=1000)

    def zero_terminal(self) -> Ddpm:
        from diffusers import DDPMScheduler

        if self.prediction != VELOCITY:
            raise TriptychError(
                f"zero_snr needs a base that predicts the velocity: {self.prediction} says nothing about a picture of"
                " pure noise"
            )
        return Ddpm(DDPMScheduler.from_config(self.schedule.config, rescale_betas_zero_snr=True))

    def sigmas(self, steps: int) -> Tensor:
        """sqrt((1 - a) / a) at times that are spread evenly and end at the last one (arXiv:2305.08891, 3.3)."""
        times = torch.arange(steps, 0, -1) * (self.length / steps)
        kept = self._kept(times.round().long() - 1).clamp(min=2**-24)  # diffusers' value where a is 0
        return torch.cat([((1 - kept) / kept).sqrt(), torch.zeros(1)])

    def sampler(self, kind: str, options: Mapping[str, Any], steps: int, device: torch.device) -> Sampler:
        import diffusers

        known = {"timestep_spacing": "trailing", **options}
        scheduler = getattr(diffusers, kind).from_config(self.schedule.config, **known)
        try:
            scheduler.set_timesteps(steps, device=device)
        except ValueError as error:  # LCM has fewer steps than the process
            raise TriptychError(f"{kind.removesuffix('Scheduler')} does not take {steps} steps: {error}") from error
        return Sampler(scheduler)

    def _kept(self, times: Tensor) -> Tensor:
        kept: Tensor = self.schedule.alphas_cumprod.to(times.device)[_nearest(times)]
        return kept


class Flow(Process):
    """Rectified flow: (1 - s) x + s e. The denoiser predicts the derivative e - x; t is s times `length`.

    Args:
        schedule: diffusers' `FlowMatchEulerDiscreteScheduler`. Its `shift` moves times towards noise.
    """

    SCHEDULERS: ClassVar[Mapping[str, str]] = {
        "EulerDiscreteScheduler": "FlowMatchEulerDiscreteScheduler",
        "HeunDiscreteScheduler": "FlowMatchHeunDiscreteScheduler",
    }
    BY_FLAG: ClassVar[tuple[str, ...]] = ("DPMSolverMultistepScheduler", "UniPCMultistepScheduler")

    def __init__(self, schedule: Any) -> None:
        self.schedule = schedule

    @property
    def prediction(self) -> str:
        return "flow_prediction"

    @property
    def shift(self) -> float:
        return float(self.schedule.config.shift)

    def times(self, rows: int, random: torch.Generator) -> Tensor:
        """Logit-normal (arXiv:2403.03206, 3.1), then shifted."""
        return self._shifted(torch.randn(rows, generator=random).sigmoid()) * self.length

    def spread(self, rows: int) -> Tensor:
        return (2 * torch.arange(rows) + 1) / (2 * rows) * self.length

    def noised(self, clean: Tensor, noise: Tensor, times: Tensor) -> Tensor:
        return torch.lerp(clean, noise, self._level(times, clean))

    def target(self, clean: Tensor, noise: Tensor, times: Tensor) -> Tensor:
        return noise - clean

    def clean(self, predicted: Tensor, noisy: Tensor, times: Tensor) -> Tensor:
        return noisy - self._level(times, noisy) * predicted

    def noise(self, predicted: Tensor, noisy: Tensor, times: Tensor) -> Tensor:
        return noisy + (1 - self._level(times, noisy)) * predicted

    def weights(self, times: Tensor, gamma: float) -> Tensor:
        """s^2 min(SNR, gamma), where SNR = ((1 - s) / s)^2: the error of x is s times that of the derivative."""
        level = times / self.length
        return torch.minimum((1 - level).square(), gamma * level.square())

    def debiased(self, times: Tensor) -> Tensor:
        """s (1 - s): the error of the noise is 1 - s times that of the derivative, and 1 / sqrt(SNR) is s / (1 - s)."""
        level = times / self.length
        return level * (1 - level)

    def zero_terminal(self) -> Flow:
        raise TriptychError("zero_snr has no meaning for a rectified flow: it ends at pure noise already")

    def sigmas(self, steps: int) -> Tensor:
        """Values of s, evenly spaced from 1, then shifted."""
        return torch.cat([self._shifted(torch.linspace(1, 1 / steps, steps)), torch.zeros(1)])

    def sampler(self, kind: str, options: Mapping[str, Any], steps: int, device: torch.device) -> Sampler:
        import diffusers

        config = {"num_train_timesteps": self.length}
        if kind in self.SCHEDULERS and not options:
            scheduler = getattr(diffusers, self.SCHEDULERS[kind])(**config, shift=self.shift)
            if kind == "EulerDiscreteScheduler":
                scheduler.set_timesteps(sigmas=torch.linspace(1, 1 / steps, steps).tolist(), device=device)
            else:
                scheduler.set_timesteps(steps, device=device)
        elif kind in self.BY_FLAG and not any(
            name.startswith("use_") for name in options
        ):  # noise levels of another kind
            flow = {"use_flow_sigmas": True, "prediction_type": self.prediction, "flow_shift": self.shift}
            scheduler = getattr(diffusers, kind)(**config, **options, **flow)
            scheduler.set_timesteps(steps, device=device)
        else:
            raise TriptychError(
                f"{kind.removesuffix('Scheduler')} with {dict(options) or 'its defaults'} does not sample a rectified "
                "flow: take euler, heun, dpm++ or unipc"
            )
        return Sampler(scheduler)

    def _shifted(self, level: Tensor) -> Tensor:
        """arXiv:2403.03206, equation 23."""
        return self.shift * level / (1 + (self.shift - 1) * level)

    def _level(self, times: Tensor, latents: Tensor) -> Tensor:
        return _over_pixels(times.to(latents.dtype) / self.length, latents)


def _nearest(times: Tensor) -> Tensor:
    """Whole times: some samplers have times between."""
    return times.round().long() if times.is_floating_point() else times


def _over_pixels(values: Tensor, latents: Tensor) -> Tensor:
    """Reshape values [rows] to [rows, 1, 1, 1]."""
    return values.to(latents.dtype).reshape(-1, *[1] * (latents.dim() - 1))
