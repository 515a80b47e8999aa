"""The exam: scenes that training never showed, as real pictures and as the base draws them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from diffusers import DPMSolverMultistepScheduler, StableDiffusionPipeline
from PIL import Image

from recipes.demo_base.compose import Pixels, place, plain, to_pixels, to_tensor

if TYPE_CHECKING:
    from pathlib import Path

    from diffusers import AutoencoderKL
    from torch import Tensor

    from recipes.demo_base.art import Art
    from recipes.demo_base.compose import Composer
    from recipes.demo_base.world import Scene, World

STEPS, GUIDANCE = 20, 3.0
BATCH = 20


@dataclass(frozen=True)
class Exam:
    """Scenes, their captions, and one real picture of each."""

    scenes: list[Scene]
    captions: list[str]
    real: list[Pixels]


def set_exam(composer: Composer, count: int, seed: int = 5) -> Exam:
    """`count` scenes of combinations kept out of training."""
    rng = np.random.default_rng(seed)
    scenes = [composer.choose(rng, seen=False) for _ in range(count)]
    return Exam(scenes, [composer.world.caption(s) for s in scenes], [composer.picture(s, rng) for s in scenes])


def open_base(folder: Path, device: str) -> StableDiffusionPipeline:
    """The base in `folder` in single precision, with the judge's sampler."""
    base = StableDiffusionPipeline.from_pretrained(folder, torch_dtype=torch.float32, local_files_only=True).to(device)
    base.scheduler = DPMSolverMultistepScheduler.from_config(base.scheduler.config, timestep_spacing="trailing")
    base.set_progress_bar_config(disable=True)
    return base


def draw(base: StableDiffusionPipeline, prompts: list[str], guidance: float = GUIDANCE) -> list[Image.Image]:
    """One picture per prompt, each from its own seed."""
    pictures: list[Image.Image] = []
    side = base.unet.config.sample_size * base.vae_scale_factor
    for start in range(0, len(prompts), BATCH):
        some = prompts[start : start + BATCH]
        seeds = [torch.Generator("cpu").manual_seed(start + i) for i in range(len(some))]
        drawn = base(some, num_inference_steps=STEPS, guidance_scale=guidance, generator=seeds, height=side, width=side)
        pictures += drawn.images
    return pictures


@torch.no_grad()
def reconstruct(vae: AutoencoderKL, pictures: list[Pixels]) -> list[Pixels]:
    """Pictures through the autoencoder and back."""
    out: list[Pixels] = []
    for start in range(0, len(pictures), BATCH):
        x = to_tensor(pictures[start : start + BATCH]).to(vae.device)
        y: Tensor = vae.decode(vae.encode(x).latent_dist.mean).sample
        out += to_pixels(y)
    return out


def psnr(real: list[Pixels], made: list[Pixels]) -> float:
    """Peak signal to noise ratio in dB: 10 lg(255² / mean squared error), the mean over the pictures."""
    errors = [np.mean((a.astype(float) - b.astype(float)) ** 2) for a, b in zip(real, made, strict=True)]
    return float(np.mean([10 * np.log10(255**2 / max(error, 1e-9)) for error in errors]))


def strangers(world: World, art: Art, count: int, seed: int = 6) -> list[Pixels]:
    """Medium pictures of held-out drawings on named backgrounds."""
    rng = np.random.default_rng(seed)
    pictures = []
    for _ in range(count):
        background = world.backgrounds[str(rng.choice(list(world.backgrounds)))]
        side = round(world.pixels * world.sides["medium"])
        corner = (world.pixels - side) // 2
        drawing = art.pixels[rng.integers(len(art.pixels))]
        pictures.append(place(drawing, side, corner, corner, plain(background, world.pixels)))
    return pictures
