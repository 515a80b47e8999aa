"""First stage: the autoencoder, 64 x 64 pixels to 16 x 16 x 4 latents and back.

Kingma and Welling (2014), with the reconstruction term of an image model: absolute error of pixels and of their
differences, so that edges stay sharp. No attention: nothing in the world is larger than what convolutions reach.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL
from torch import Tensor, nn

from recipes.demo_base.art import Art
from recipes.demo_base.compose import Composer, Pixels, place, plain, to_tensor
from recipes.demo_base.fleet import half_where_fast
from recipes.demo_base.world import World

EDGES, PRIOR = 0.5, 3e-5
"""Weights of the error of pixel differences and of the divergence from the prior."""

OF_THE_WORLD = 0.5
"""Share of the pictures that are scenes of the world; the others show any drawing anywhere."""


def build_autoencoder() -> AutoencoderKL:
    """The architecture of Stable Diffusion's autoencoder, small, with two halvings."""
    return AutoencoderKL(
        in_channels=3,
        out_channels=3,
        latent_channels=4,
        sample_size=64,
        down_block_types=("DownEncoderBlock2D",) * 3,
        up_block_types=("UpDecoderBlock2D",) * 3,
        block_out_channels=(16, 32, 64),
        layers_per_block=1,
        norm_num_groups=8,
        mid_block_add_attention=False,
    )


class AutoencoderTask:
    """Reconstruct scenes of the world, and compositions of all other drawings that are not held out."""

    name = "vae"

    def __init__(self, art: Art, composer: Composer, device: torch.device, batch: int) -> None:
        self.art, self.composer, self.device, self.batch = art, composer, device, batch
        self.vae = build_autoencoder().to(device)
        self.modules = nn.ModuleDict({"vae": self.vae})

    def loss(self, rng: np.random.Generator, noise: torch.Generator) -> Tensor:
        """Reconstruction and prior terms for one batch."""
        x = to_tensor([self.picture(rng) for _ in range(self.batch)]).to(self.device)
        with half_where_fast(self.device):
            posterior = self.vae.encode(x).latent_dist
            mean, std, log_variance = posterior.mean.float(), posterior.std.float(), posterior.logvar.float()
            z = mean + std * torch.randn(mean.shape, generator=noise, device=self.device)
            y = self.vae.decode(z).sample.float()
        prior = 0.5 * (mean**2 + log_variance.exp() - 1 - log_variance).mean()
        loss: Tensor = F.l1_loss(y, x) + EDGES * edge_error(y, x) + PRIOR * prior
        return loss

    def picture(self, rng: np.random.Generator) -> Pixels:
        """One picture to reconstruct."""
        if rng.random() < OF_THE_WORLD:
            return self.composer.picture(self.composer.choose(rng), rng)
        return random_picture(self.art, self.composer.world, rng)


def edge_error(y: Tensor, x: Tensor) -> Tensor:
    """Absolute error of the differences between neighbouring pixels, [batch, 3, h, w] both."""
    error = y - x
    across = (error[..., 1:] - error[..., :-1]).abs().mean()
    down = (error[..., 1:, :] - error[..., :-1, :]).abs().mean()
    return across + down


def random_picture(art: Art, world: World, rng: np.random.Generator) -> Pixels:
    """Any drawing anywhere, on a named background, on any colour, or on a gradient between two colours."""
    pixels = world.pixels
    canvas = plain(list(world.backgrounds.values())[rng.integers(len(world.backgrounds))], pixels)
    kind = rng.random()
    if kind > 0.7:
        canvas = plain((int(rng.integers(256)), int(rng.integers(256)), int(rng.integers(256))), pixels)
    if kind > 0.85:
        other = rng.integers(0, 256, 3)
        way = np.linspace(0, 1, pixels)[:, None, None]
        canvas = (canvas * (1 - way) + other * way).astype(np.uint8)
    side = int(rng.integers(int(0.4 * pixels), pixels + 1))
    left, top = rng.integers(0, pixels - side + 1, 2)
    return place(art.pixels[rng.integers(len(art.pixels))], side, int(left), int(top), canvas)
