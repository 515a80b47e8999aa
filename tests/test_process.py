"""The noise process: each kind agrees with itself, with diffusers and with the papers."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from diffusers import DDPMScheduler, EulerDiscreteScheduler, FlowMatchEulerDiscreteScheduler

from triptych.base import Ddpm, Flow, Process
from triptych.errors import TriptychError
from triptych.sampling.samplers import SAMPLERS

ZERO_SNR = {"rescale_betas_zero_snr": True, "timestep_spacing": "trailing"}
PROCESSES: dict[str, Process] = {
    "epsilon": Ddpm(DDPMScheduler()),
    "v": Ddpm(DDPMScheduler(prediction_type="v_prediction")),
    "v with zero terminal SNR": Ddpm(DDPMScheduler(prediction_type="v_prediction", **ZERO_SNR)),
    "flow": Flow(FlowMatchEulerDiscreteScheduler(shift=3.0)),
}
CPU = torch.device("cpu")

FLOW_SAMPLERS = ["euler", "heun", "dpm++", "dpm++-2m-sde", "dpm++-3m-sde", "unipc"]


@pytest.fixture(params=PROCESSES)
def process(request: pytest.FixtureRequest) -> Process:
    return PROCESSES[request.param]


def latents(seed: int) -> torch.Tensor:
    return torch.randn(4, 2, 4, 4, generator=torch.Generator().manual_seed(seed))


def test_the_true_target_gives_the_clean_latent_back(process: Process) -> None:
    clean, noise, times = latents(0), latents(1), process.spread(4)
    noisy = process.noised(clean, noise, times)
    found = process.clean(process.target(clean, noise, times), noisy, times)
    assert torch.allclose(found, clean, atol=1e-4)


def test_times_are_within_the_process_and_follow_from_the_generator(process: Process) -> None:
    times, again = (process.times(500, torch.Generator().manual_seed(3)) for _ in range(2))
    assert torch.equal(times, again)
    assert 0 <= times.min() < 0.2 * process.length < 0.8 * process.length < times.max() <= process.length
    assert process.spread(8).diff().min() > 0


def test_weights_are_min_snr_on_the_clean_latent(process: Process) -> None:
    """A small error of the prediction, weighted, is min(SNR, gamma) times the error of the clean latent it gives."""
    clean, noise, times, gamma = latents(0).double(), latents(1).double(), process.spread(4), 5.0
    noisy, target = process.noised(clean, noise, times), process.target(clean, noise, times)
    wrong = target + 0.1
    error = (process.clean(wrong, noisy, times) - process.clean(target, noisy, times)).square().mean((1, 2, 3))
    per_unit = process.noised(torch.ones_like(clean), torch.zeros_like(noise), times)[:, 0, 0, 0]
    per_noise = process.noised(torch.zeros_like(clean), torch.ones_like(noise), times)[:, 0, 0, 0]
    snr = (per_unit / per_noise).square()
    assert torch.allclose(process.weights(times, gamma).double() * 0.01, snr.clamp(max=gamma) * error, rtol=1e-3)


def test_weights_are_finite_at_the_end_of_a_schedule_with_zero_terminal_snr() -> None:
    for prediction in ("epsilon", "v_prediction"):
        process = Ddpm(DDPMScheduler(prediction_type=prediction, **ZERO_SNR))
        assert process.noised(torch.ones(1, 4, 2, 2), torch.zeros(1, 4, 2, 2), torch.tensor([999])).abs().max() < 1e-6
        assert process.weights(torch.tensor([0, 999]), 5.0).isfinite().all()


@pytest.mark.parametrize("steps", [1, 7, 50])
def test_sigmas_are_those_of_diffusers_samplers(steps: int) -> None:
    for process, kind in ((PROCESSES["epsilon"], EulerDiscreteScheduler), (PROCESSES["flow"], None)):
        sampler = process.sampler("EulerDiscreteScheduler", {}, steps, CPU)
        assert torch.allclose(process.sigmas(steps), sampler.scheduler.sigmas, rtol=1e-4)
        assert kind is None or isinstance(sampler.scheduler, kind)


def able(process: Process) -> list[str]:
    return [*SAMPLERS] if isinstance(process, Ddpm) else FLOW_SAMPLERS


@pytest.mark.slow
def test_every_sampler_finds_a_picture_that_is_known(process: Process) -> None:
    """Where the denoiser knows the one picture there is, sampling ends near it, whatever the noise."""
    picture = latents(0)[:1]
    for name in able(process):
        sampler = process.sampler(SAMPLERS[name].scheduler, SAMPLERS[name].options, 8, CPU)
        random = torch.Generator().manual_seed(5)
        x = sampler.first(torch.randn(picture.shape, generator=random))
        for t in sampler.times:
            scaled, times = sampler.scaled(x, t), t[None] if isinstance(process, Flow) else t[None].long()
            x = sampler.step(known(process, picture, scaled, times), t, x, [random])
        assert torch.allclose(x, picture, atol=0.2), f"{name} misses it by {(x - picture).abs().max():.2f}"


def known(process: Process, picture: torch.Tensor, noisy: torch.Tensor, times: torch.Tensor) -> torch.Tensor:
    """The prediction of a denoiser that knows the picture."""
    zero, one = torch.zeros_like(noisy), torch.ones_like(noisy)
    of_noise = process.noised(zero, one, times)
    return process.target(picture, (noisy - process.noised(picture, zero, times)) / of_noise, times)


@pytest.mark.parametrize("name", sorted(set(SAMPLERS) - set(FLOW_SAMPLERS)))
def test_samplers_that_cannot_sample_a_flow_are_refused(name: str) -> None:
    with pytest.raises(TriptychError, match="does not sample a rectified flow"):
        PROCESSES["flow"].sampler(SAMPLERS[name].scheduler, SAMPLERS[name].options, 8, CPU)


def test_a_flow_is_straight() -> None:
    flow: Any = PROCESSES["flow"]
    clean, noise = latents(0), latents(1)
    halfway = flow.noised(clean, noise, torch.full((4,), 500.0))
    assert torch.allclose(halfway, (clean + noise) / 2, atol=1e-6)
    assert flow.shift == 3.0
