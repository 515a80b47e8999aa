"""One pass of a sampler over a batch: from noise, from pictures, or over latents that were sampled before."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from ..base import Base, Sampling
from ..base.sampler import Sampler
from ..cancel import check
from .attention import Attending
from .guidance import Guidance
from .image_to_image import Start
from .moves import Moving
from .preview import Watching
from .regions import Regional
from .samplers import SAMPLERS, sampler_named


def sampler_for(base: Base, sampling: Sampling) -> Sampler:
    """A new sampler of this kind for the base's noise process, with its number of steps set.

    Raises:
        TriptychError: the sampler cannot sample that process.
    """
    named = SAMPLERS[sampler_named(sampling.sampler)]
    return base.process.sampler(named.scheduler, named.options, sampling.steps, base.device)


@dataclass(frozen=True)
class Pass:
    """A sampler's pass over a batch of pictures [pictures, channels, height, width].

    Attributes:
        guide: predicts, guided by the prompts.
        strengths: of the patches that come and go.
        randoms: a generator for each picture.
        attending: watches and steers attention.
        watching: sees the pictures after each step.
        tiled: whether the autoencoder takes pictures in tiles; None: large ones.
        shrink: how many times larger the picture is than its coarse layers are to see it, for the share `shrink_until`
            of the steps.
    """

    base: Base
    sampling: Sampling
    guide: Guidance | Regional
    strengths: Moving
    randoms: Sequence[torch.Generator]
    attending: Attending | None = None
    watching: Watching | None = None
    tiled: bool | None = None
    shrink: float = 1.0
    shrink_until: float = 0.0

    def __call__(self, noise: Tensor, starts: Sequence[Start | None], denoise: float) -> Tensor:
        """The latents that are sampled from standard normal noise; or from pictures, of which the share `denoise` of
        the steps is sampled anew. Those of a batch begin all with a picture, or none of them."""
        begun = [start for start in starts if start]
        self._begin(begun)
        if not begun:
            return self._run(sampler_for(self.base, self.sampling), None, noise)
        original = self.base.latents([start.picture for start in begun], self.tiled).to(noise.device)
        filled = [start.filled(own, other) for start, own, other in zip(begun, original, noise, strict=True)]
        clean, kept = torch.stack(filled), torch.stack([~start.changed(noise[0]) for start in begun])
        return self._from(clean, noise, denoise, (original, kept) if kept.any() else None)

    def over(self, latents: Tensor, noise: Tensor, denoise: float) -> Tensor:
        """A second pass over latents. Schedules and strengths are as in the last step."""
        self._begin([])
        return self._from(latents, noise, denoise, None, last=True)

    def _begin(self, begun: Sequence[Start]) -> None:
        """State what a denoiser for inpainting reads of the pictures that the pass begins with."""
        kept = None
        if self.base.denoiser.reads_mask and any(start.mask for start in begun):
            pictures = [start.picture for start in begun]
            masks = [start.mask or Image.new("L", start.picture.size, 255) for start in begun]
            kept = self.base.kept(pictures, masks, self.tiled)
        self.guide.begin(kept)

    def _from(
        self, clean: Tensor, noise: Tensor, denoise: float, keep: tuple[Tensor, Tensor] | None, last: bool = False
    ) -> Tensor:
        steps = min(int(denoise * self.sampling.steps), self.sampling.steps)
        if not steps:
            return clean
        sampler = sampler_for(self.base, self.sampling)
        sampler.begin_at(self.sampling.steps - steps)
        return self._run(sampler, sampler.noised(clean, noise), noise, keep, last)

    def _run(
        self, sampler: Sampler, latents: Tensor | None, noise: Tensor, keep: tuple[Tensor, Tensor] | None = None,
        last: bool = False,
    ) -> Tensor:  # fmt: skip
        calls = len(sampler.times)
        x = sampler.first(noise) if latents is None else latents
        for call, t in enumerate(sampler.times):
            check()  # whether this call is cancelled
            at = calls - 1 if last else call
            self.guide.state = self.strengths.at(at, calls)
            scaled = sampler.scaled(x, t)
            shrunk = self.shrink > 1 and call < self.shrink_until * calls
            with self.base.denoiser.shrunk(self.shrink) if shrunk else nullcontext():
                predicted = self.guide(scaled, t, at, calls)
            if self.watching:
                self.watching(self.base, predicted, scaled, t, call, calls, -(-calls // sampler.order))
            x = sampler.step(predicted, t, x, self.randoms)
            if self.attending:
                x = self.attending.after(x)
            if keep is not None:
                original, kept = keep
                x = torch.where(kept, sampler.noised(original, noise, call + 1), x)
        return x


def enlarged(base: Base, latents: Tensor, shape: tuple[int, int], by: str, tiled: bool | None = None) -> Tensor:
    """Latents [pictures, channels, height, width] at another height and width: interpolated, or as larger pixels.

    `tiled`: whether the autoencoder takes pictures in tiles; None: large ones.
    """
    if by == "latent":
        return F.interpolate(latents, shape, mode="bilinear", antialias=False)
    from PIL.Image import Resampling

    size = (shape[1] * base.pixels, shape[0] * base.pixels)
    pictures = [picture.resize(size, Resampling.LANCZOS) for picture in base.decode(latents, tiled)]
    return base.latents(pictures, tiled).to(latents.device)
