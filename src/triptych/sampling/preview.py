"""Previews of a picture while it is sampled, by a linear decoder of latents, which costs next to nothing.

Dimensions: C channels of latents, N positions, H height and W width of the latents.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor

from ..base import Base, generator
from ..errors import TriptychError
from ..files.atomic import cache_folder, write_text

if TYPE_CHECKING:
    from PIL.Image import Image

PICTURES, CELLS, MOST = 8, (2, 4, 8, 16), 256  # pictures of random colours, their cells along a side, their pixels
SCHEMA = 1  # raise it when the same base comes to have other factors


@dataclass(frozen=True)
class LinearDecoder:
    """A colour for each position of latents: the channels times `factors` [C + 1, 3], of which the last is added.

    Colours are from 0 to 1.
    """

    factors: Tensor

    @classmethod
    def of(cls, base: Base) -> LinearDecoder:
        """The decoder of a base: fitted once, and then from the cache."""
        record = cache_folder() / "previews" / f"{base.identity}-{SCHEMA}.json"
        with suppress(OSError, ValueError, TypeError):
            factors = torch.tensor(json.loads(record.read_text(encoding="ascii")), dtype=torch.float32)
            if factors.shape == (base.latent_shape[0] + 1, 3):
                return cls(factors)
        found = cls.fitted(base)
        with suppress(TriptychError, OSError):
            write_text(record, json.dumps(found.factors.tolist()))
        return found

    @classmethod
    def fitted(cls, base: Base) -> LinearDecoder:
        """Fit it by least squares, to what the autoencoder decodes of pictures of random colours."""
        from PIL import Image

        step = base.pixels * base.denoiser.multiple
        side = max(step, min(base.resolution, MOST) // step * step)
        random, pictures = generator("preview"), []
        for number in range(PICTURES):
            cells = CELLS[number % len(CELLS)]
            colours = torch.randint(0, 256, (cells, cells, 3), generator=random).to(torch.uint8).numpy()
            pictures.append(Image.fromarray(colours).resize((side, side), Image.Resampling.NEAREST))
        latents = base.latents(pictures).cpu()
        decoded = torch.stack([_pixels(picture) for picture in base.decode(latents.to(base.device))])
        small = F.adaptive_avg_pool2d(decoded, (latents.shape[2], latents.shape[3]))
        return cls(torch.linalg.lstsq(_with_one(latents), small.permute(0, 2, 3, 1).reshape(-1, 3)).solution)

    def __call__(self, latents: Tensor) -> list[Image]:
        """Pictures of latents [pictures, C, H, W], a pixel for each position."""
        from PIL import Image

        count, _, height, width = latents.shape
        clean = latents.detach().float().cpu().nan_to_num()
        colours = (_with_one(clean) @ self.factors).clamp(0, 1).reshape(count, height, width, 3)
        return [Image.fromarray(own) for own in (colours * 255).round().to(torch.uint8).numpy()]


def _with_one(latents: Tensor) -> Tensor:
    """Latents as rows with a constant [N, C + 1]."""
    rows = latents.permute(0, 2, 3, 1).flatten(0, 2)
    return torch.cat([rows, torch.ones(len(rows), 1)], dim=1)


def _pixels(picture: Image) -> Tensor:
    import numpy as np

    return torch.from_numpy(np.asarray(picture, dtype=np.float32)).permute(2, 0, 1) / 255


@dataclass(frozen=True)
class Preview:
    """Pictures while they are sampled.

    Attributes:
        places: of each its index among all pictures that are sampled.
        step: how many steps are done, from 1; a second pass begins anew.
        steps: of the pass.
        latents: the clean latents that the step foretells [pictures, C, H, W].
    """

    base: Base
    places: Sequence[int]
    step: int
    steps: int
    latents: Tensor

    def pictures(self) -> list[Image]:
        """Small pictures, a pixel for each position of the latents."""
        return LinearDecoder.of(self.base)(self.latents)


@dataclass(frozen=True)
class Watching:
    """Who watches pictures while they are sampled: `show` is called after every so many steps.

    Attributes:
        places: of each picture of the batch its index among all; None: it is not shown.
    """

    show: Callable[[Preview], None]
    every: int = 1
    places: Sequence[int | None] = ()

    def counted_from(self, first: int) -> Watching:
        """The same for pictures whose indices begin at `first`."""

        def show(seen: Preview) -> None:
            self.show(replace(seen, places=[first + place for place in seen.places]))

        return replace(self, show=show)

    def among(self, wanted: Sequence[int], count: int) -> Watching:
        """The same in a larger batch of `count` pictures, where the pictures of this one are at the places `wanted`."""
        shown = dict(zip(wanted, self.places, strict=True))
        return replace(self, places=[shown.get(i) for i in range(count)])

    def __call__(
        self, base: Base, predicted: Tensor, noisy: Tensor, time: Tensor, call: int, calls: int, steps: int
    ) -> None:
        """See a call of the denoiser: what it predicted of noisy latents [pictures, C, H, W]."""
        step = (call + 1) * steps // calls
        if step == call * steps // calls or step % self.every:
            return
        shown = [i for i, place in enumerate(self.places) if place is not None]
        clean = base.process.clean(predicted, noisy, time.expand(len(noisy)).to(noisy.device))
        self.show(Preview(base, [place for place in self.places if place is not None], step, steps, clean[shown]))
