"""Third stage: the denoiser, on cached latents and cached text states.

Velocity prediction, Salimans and Ho (2022): v = alpha noise - sigma x. Loss weights capped in
the manner of Hang et al. (2023), "Efficient Diffusion Training via Min-SNR Weighting Strategy".
"""

from __future__ import annotations

import numpy as np
import torch
from diffusers import DDIMScheduler, UNet2DConditionModel
from diffusers.models.attention_processor import AttnProcessor
from torch import Tensor, nn

from recipes.demo_base.clip import WIDTH
from recipes.demo_base.fleet import half_where_fast
from recipes.demo_base.lessons import Lessons

UNSAID = 0.1
"""How often a picture is learned without its caption, for classifier-free guidance (Ho and Salimans, 2022)."""

HIGHEST_WEIGHT = 5.0
"""Upper end of the weight of the clean picture's error. The plain error of v weighs it by SNR + 1: also where there is
next to no signal, as there the caption must be turned into a shape."""


def build_denoiser() -> UNet2DConditionModel:
    """Stable Diffusion's denoiser at 16 x 16, with one layer per block; attention at 16 x 16, 8 x 8 and 4 x 4."""
    return UNet2DConditionModel(
        sample_size=16,
        in_channels=4,
        out_channels=4,
        layers_per_block=1,
        block_out_channels=(64, 128, 256),
        down_block_types=("CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D"),
        cross_attention_dim=WIDTH,
        attention_head_dim=4,
        norm_num_groups=16,
    )


def build_schedule() -> DDIMScheduler:
    """Stable Diffusion's noise schedule."""
    return DDIMScheduler(
        num_train_timesteps=1000,
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        clip_sample=False,
        set_alpha_to_one=False,
        steps_offset=1,
        prediction_type="v_prediction",
    )


class DenoiserTask:
    """Predict the velocity of noised latents from their caption."""

    name = "unet"

    def __init__(self, lessons: Lessons, device: torch.device, batch: int) -> None:
        self.lessons, self.device, self.batch = lessons.near(device), device, batch
        self.unet = build_denoiser().to(device)
        if device.type == "cpu":
            # The same result as the fused kernel, in two thirds of its time.
            self.unet.set_attn_processor(AttnProcessor())
        self.modules = nn.ModuleDict({"unet": self.unet})
        self.signal = build_schedule().alphas_cumprod.to(device)

    def loss(self, rng: np.random.Generator, noise: torch.Generator) -> Tensor:
        """Weighted squared error of v."""
        chosen = torch.from_numpy(rng.integers(0, len(self.lessons.latents), self.batch)).to(self.device)
        said = torch.from_numpy(rng.random(self.batch) >= UNSAID).to(self.device)
        x = self.lessons.latents[chosen]
        states = self.lessons.states[self.lessons.caption[chosen] * said]
        t = torch.from_numpy(rng.integers(0, len(self.signal), self.batch)).to(self.device)
        epsilon = torch.randn(x.shape, generator=noise, device=self.device)
        signal = self.signal[t].view(-1, 1, 1, 1)
        alpha, sigma = signal.sqrt(), (1 - signal).sqrt()
        with half_where_fast(self.device):
            v = self.unet(alpha * x + sigma * epsilon, t, states.float()).sample.float()
        snr = signal / (1 - signal)
        weight = (snr + 1).clamp(max=HIGHEST_WEIGHT) / (snr + 1)
        loss: Tensor = (weight * (v - (alpha * epsilon - sigma * x)) ** 2).mean()
        return loss
