"""Computes the projection of the image encoder for drawings.

    python -m recipes.demo_base.brush --packs PACKS

It writes the linear discriminants (Fisher, 1936; Rao, 1948) that `triptych.metrics.encoders.efficientnet` uses. They
are computed on drawings of the icon packages in several views; none is a subject of the world or held out. The
variation among the views of one drawing (size, the autoencoder's blur, the denoiser's inexact lines) is whitened. All
directions in which drawings differ are kept, since with fewer directions a cosine varies more between pictures.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import numpy as np
import torch
from diffusers import StableDiffusionPipeline
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor

from recipes.demo_base.art import PIXELS, Drawing, other_drawings, render
from recipes.demo_base.compose import Pixels, place, plain, to_pixels, to_tensor
from recipes.demo_base.judge.exam import open_base
from recipes.demo_base.world import WORLD_FILE, World
from triptych.files.atomic import replacing
from triptych.metrics.encoders.efficientnet import DISCRIMINANTS, EfficientNetLite0
from triptych.metrics.world import cut_out

DRAWINGS, BATCH = 640, 16
REDRAWN = (None, 30.0, 8.0, 3.0, 1.5)
"""For each view, the signal-to-noise ratio (power) from which the denoiser samples again; None: the autoencoder alone.
One more view is the composition itself."""
STEPS = 4
SHRINKAGE = 0.2
"""The weight of the covariance's diagonal in its shrinkage."""


class Redrawing:
    """Reconstructs pictures by the base, with the empty prompt."""

    def __init__(self, base: StableDiffusionPipeline) -> None:
        self.base = base
        self.signal: Tensor = base.scheduler.alphas_cumprod
        self.unsaid: Tensor = base.encode_prompt([""], "cpu", 1, False)[0]

    @torch.inference_mode()
    def __call__(self, pictures: list[Pixels], snr: float | None, noise: torch.Generator) -> list[Pixels]:
        """Encode the pictures, add noise up to `snr`, denoise (DDIM), and decode. With None, encode and decode only."""
        vae = self.base.vae
        x = vae.encode(to_tensor(pictures)).latent_dist.mean * vae.config.scaling_factor
        if snr is not None:
            x = self._again(x, snr, noise)
        return to_pixels(vae.decode(x / vae.config.scaling_factor).sample)

    def _again(self, x: Tensor, snr: float, noise: torch.Generator) -> Tensor:
        start = int((self.signal / (1 - self.signal) - snr).abs().argmin())
        times = np.linspace(start, 0, STEPS + 1).round().astype(int)
        epsilon = torch.randn(x.shape, generator=noise)
        for t in times[:-1]:
            alpha, sigma = self.signal[t].sqrt(), (1 - self.signal[t]).sqrt()
            noised = alpha * x + sigma * epsilon
            v = self.base.unet(noised, int(t), self.unsaid.expand(len(x), -1, -1)).sample
            x, epsilon = alpha * noised - sigma * v, alpha * v + sigma * noised
        return x


def strangers_to_the_world(world: World, packs: Path) -> list[Drawing]:
    """Drawings that are neither held out nor of a subject of the world, in random order."""
    known = {name.replace("-", "") for name in world.subjects.values()}
    every = [one for one in other_drawings(world, packs) if one.name.replace("-", "") not in known]
    return [every[i] for i in np.random.default_rng(3).permutation(len(every))]


def compose(world: World, drawing: Pixels, rng: np.random.Generator) -> Pixels:
    """A drawing of any size, anywhere, on any background."""
    side = round(world.pixels * rng.choice([*world.sides.values()]))
    cell = world.pixels // world.cells
    left, top = cell * rng.integers(0, (world.pixels - side) // cell + 1, 2)
    background = world.backgrounds[str(rng.choice([*world.backgrounds]))]
    return place(drawing, side, int(left), int(top), plain(background, world.pixels))


def rendered(drawings: list[Drawing]) -> list[Pixels]:
    """With premultiplied alpha: uint8 [PIXELS, PIXELS, 4] each."""
    return [np.asarray(render(drawing.svg, PIXELS)) for drawing in drawings]


def look_at_views(drawings: list[Pixels], world: World, redraw: Redrawing, encoder: EfficientNetLite0) -> Tensor:
    """The encoder's channels for several views of rendered drawings: float32 [drawings, views, channels]."""
    rng, noise = np.random.default_rng(4), torch.Generator().manual_seed(4)
    seen = []
    for start in range(0, len(drawings), BATCH):
        art = drawings[start : start + BATCH]
        views = [[compose(world, one, rng) for one in art] for _ in range(len(REDRAWN) + 1)]
        views[1:] = [redraw(view, snr, noise) for view, snr in zip(views[1:], REDRAWN, strict=True)]
        cut = [[cut_out(Image.fromarray(picture)) for picture in view] for view in views]
        seen.append(torch.stack([encoder.channels(view) for view in cut], dim=1))
        print(f"{start + len(art)} of {len(drawings)} drawings", flush=True)
    return torch.cat(seen)


def discriminants(views: Tensor) -> dict[str, Tensor]:
    """The mean [channels] and the directions [channels, drawings - 1], from float [drawings, views, channels].

    The result does not depend on the scale of a channel. A channel that never varies (a colour that no drawing has) has
    no weight.
    """
    drawings, seen, _ = views.shape
    mean, deviation = views.double().mean(dim=(0, 1)), views.double().std(dim=(0, 1))
    varies = deviation > 1e-6
    x = ((views.double() - mean) / deviation)[..., varies]
    centres = x.mean(dim=1)
    apart = (x - centres[:, None]).flatten(0, 1)
    within = apart.T @ apart / (drawings * (seen - 1))
    within = (1 - SHRINKAGE) * within + SHRINKAGE * within.diagonal().diag()
    spread, axes = torch.linalg.eigh(within)
    white = axes / spread.sqrt()
    between = (centres - centres.mean(dim=0)) @ white
    kept = torch.linalg.eigh(between.T @ between).eigenvectors[:, 1 - drawings :]
    directions = torch.zeros(len(mean), kept.shape[1])
    directions[varies] = (white @ kept / deviation[varies, None]).float()
    return {"mean": mean.float(), "directions": directions.bfloat16().contiguous()}


def main() -> None:
    """Encode the drawings and write the discriminants."""
    parser = argparse.ArgumentParser(prog="python -m recipes.demo_base.brush", description=__doc__)
    parser.add_argument("--base", type=Path, default=WORLD_FILE.parent, help="folder of the base that draws")
    parser.add_argument("--packs", type=Path, help="folder of icon package archives (default: a temporary one)")
    parser.add_argument("--drawings", type=int, default=DRAWINGS, help="how many drawings are looked at")
    parser.add_argument("--out", type=Path, default=DISCRIMINANTS, help="file to write (default: that of the package)")
    given = parser.parse_args()
    world, encoder = World.open(), EfficientNetLite0()
    with tempfile.TemporaryDirectory() as temporary:
        drawings = strangers_to_the_world(world, given.packs or Path(temporary))[: given.drawings]
    views = look_at_views(rendered(drawings), world, Redrawing(open_base(given.base, "cpu")), encoder)
    with replacing(given.out) as partial:
        save_file(discriminants(views), partial)


if __name__ == "__main__":
    main()
