"""Guidance by regions: each has its own prompt, and its own artifacts, and acts inside its area alone."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from ..base import Base
from .controls import Controls
from .guidance import Guidance
from .request import Region, Request

if TYPE_CHECKING:
    from PIL.Image import Image


class Regional:
    """The predictions of the regions of pictures, joined by their areas (as MultiDiffusion, arXiv:2302.08113, eq. 5).

    Each region is guided as a picture of its own, from the same latents. Where areas overlap, their predictions are
    averaged. The prompt of the whole picture acts where no region is.
    """

    def __init__(self, base: Base, singles: Sequence[Request], scale: float, controls: Controls) -> None:
        parts: list[tuple[int, Request, Region | None]] = []
        for i, single in enumerate(singles):
            parts.append((i, replace(single, regions=()), None))
            for region in single.regions:
                own = replace(
                    single, prompt=region.prompt, owner=region.owner, negative=region.negative, regions=(), heat=()
                )
                parts.append((i, own, region))
        parts.sort(key=lambda part: str(part[1].owner))  # an owner's rows must be adjacent
        self.source = [i for i, _, _ in parts]
        self.regions = [region for _, _, region in parts]
        self.inner = Guidance(base, [request for _, request, _ in parts], scale, controls)
        self.shares: dict[tuple[int, int], Tensor] = {}

    @property
    def state(self) -> Hashable:
        return self.inner.state

    @state.setter
    def state(self, state: Hashable) -> None:
        self.inner.state = state

    def __call__(self, latents: Tensor, t: Tensor, call: int, calls: int) -> Tensor:
        """The guided prediction [pictures, channels, height, width]."""
        predicted = self.inner(latents[self.source], t, call, calls)
        shares = self.shares_of(latents.shape[-2], latents.shape[-1]).to(predicted)
        return torch.zeros_like(latents).index_add_(
            0, torch.tensor(self.source, device=latents.device), predicted * shares
        )

    def shares_of(self, height: int, width: int) -> Tensor:
        """How much each part gives at each place [parts, 1, height, width]; those of a picture sum to 1."""
        if (height, width) not in self.shares:
            areas = torch.stack([area_of(region, height, width) for region in self.regions])
            found = areas.clone()
            for i in set(self.source):
                mine = [k for k, source in enumerate(self.source) if source == i]
                inside = [k for k in mine if self.regions[k] is not None]
                (rest,) = (k for k in mine if self.regions[k] is None)
                total = areas[inside].sum(0) if inside else torch.zeros_like(areas[0])
                found[rest] = (1 - total).clamp(min=0)
                found[mine] = found[mine] / found[mine].sum(0)
            self.shares[height, width] = found[:, None]
        return self.shares[height, width]


def area_of(region: Region | None, height: int, width: int) -> Tensor:
    """The share of each place that lies in a region [height, width]; all of it for None."""
    if region is None:
        return torch.ones(height, width)
    if isinstance(region.area, tuple):
        left, top, right, bottom = region.area
        return torch.outer(_covered(top, bottom, height), _covered(left, right, width))
    return _painted(region.area, height, width)


def _covered(begin: float, end: float, count: int) -> Tensor:
    """How much of each of `count` equal stretches of [0, 1] lies between `begin` and `end`."""
    edges = torch.arange(count + 1) / count
    return ((edges[1:].clamp(max=end) - edges[:-1].clamp(min=begin)).clamp(min=0) * count).clamp(max=1)


def _painted(mask: Image, height: int, width: int) -> Tensor:
    from PIL.Image import Resampling

    small = mask.convert("L").resize((width, height), Resampling.BOX)
    return torch.from_numpy(np.asarray(small).astype(np.float32) / 255)
