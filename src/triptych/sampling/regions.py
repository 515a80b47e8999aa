"""Guidance by regions: each has its own prompt, and its own artifacts, and acts inside its area alone."""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from torch import Tensor

from ..base import Base
from .controls import Controls
from .guidance import Guidance
from .request import Region, Request

if TYPE_CHECKING:
    from PIL.Image import Image


class View(NamedTuple):
    """What a region sees of the picture: a part of its latents [channels, height, width]."""

    rows: slice
    columns: slice

    @property
    def shape(self) -> tuple[int, int]:
        return self.rows.stop - self.rows.start, self.columns.stop - self.columns.start


class Part(NamedTuple):
    """One prompt of a picture: its place in the batch, what is asked for, and the region; None: the whole picture."""

    source: int
    request: Request
    region: Region | None


class Together(NamedTuple):
    """Parts whose views have one size, so that they are predicted in one call, with their shares of the picture.

    Attributes:
        shares: how much each part gives at each place of its view [parts, 1, height, width].
        own: the clean latents and the noise [parts, channels, height, width] that each part's last prediction
            implied; none before the first.
    """

    guide: Guidance
    parts: list[Part]
    views: list[View]
    shares: Tensor
    own: list[Tensor]

    def of(self, pictures: Tensor) -> Tensor:
        """The views of the parts in pictures [pictures, channels, height, width]: [parts, channels, height, width]."""
        pairs = zip(self.parts, self.views, strict=True)
        return torch.stack([pictures[part.source, :, *view] for part, view in pairs])


class Regional:
    """The predictions of the regions of pictures, joined by their areas (as MultiDiffusion, arXiv:2302.08113, eq. 5).

    Each region is guided as a picture of its own: the part of the latents where it lies, widened to the size that the
    base was made for. So what it shows lies inside its area where the picture is large enough. Where areas overlap,
    their predictions are averaged. The prompt of the whole picture acts where no region is.

    For the share `controls.region_alone` of the steps, a region does not see what others put around it, but how its
    own picture would go on there: the clean latents and the noise of its last prediction, at the noise level of the
    step (DDIM, arXiv:2010.02502, equation 12 with sigma = 0). A base that puts one thing into a picture leaves out
    the second one that it sees. (arXiv:2302.08113, section 5.2 puts plain colours there, in the first steps.)

    Attributes:
        state: as of `Guidance`.
    """

    state: Hashable = ()

    def __init__(self, base: Base, singles: Sequence[Request], scale: float, controls: Controls) -> None:
        self.base, self.scale, self.controls = base, scale, controls
        self.parts: list[Part] = []
        for i, single in enumerate(singles):
            self.parts.append(Part(i, replace(single, regions=()), None))
            for region in single.regions:
                own = replace(
                    single, prompt=region.prompt, owner=region.owner, negative=region.negative, regions=(), heat=()
                )
                self.parts.append(Part(i, own, region))
        self.parts.sort(key=lambda part: str(part.request.owner))  # an owner's rows must be adjacent
        self.kept: Tensor | None = None
        self.found: dict[tuple[int, int], list[Together]] = {}  # by height and width of the latents

    def begin(self, kept: Tensor | None) -> None:
        """As `Guidance.begin`."""
        self.kept = kept
        for together in (together for own in self.found.values() for together in own):
            together.own.clear()

    def __call__(self, latents: Tensor, t: Tensor, call: int, calls: int) -> Tensor:
        """The guided prediction [pictures, channels, height, width]."""
        predicted = torch.zeros_like(latents)
        for together in self.together(latents.shape[-2], latents.shape[-1]):
            together.guide.state = self.state
            together.guide.begin(None if self.kept is None else together.of(self.kept))
            given = self._seen(together, latents, t, call, calls) * together.shares.to(latents)
            for part, view, own in zip(together.parts, together.views, given, strict=True):
                predicted[part.source, :, *view] += own
        return predicted

    def _seen(self, together: Together, latents: Tensor, t: Tensor, call: int, calls: int) -> Tensor:
        """The guided predictions of parts [parts, channels, height, width of their views]."""
        seen, process = together.of(latents), self.base.process
        times = t.expand(len(seen))
        if together.own and call < self.controls.region_alone * calls:
            clean, noise = together.own
            seen = torch.where(together.shares.to(seen) > 0, seen, process.noised(clean, noise, times))
        given = together.guide(seen, t, call, calls)
        together.own[:] = (find(given, seen, times) for find in (process.clean, process.noise))
        return given

    def together(self, height: int, width: int) -> list[Together]:
        """What is predicted in one call each, for latents of this size. Parts that give nothing are left out."""
        if (height, width) not in self.found:
            shares, by_shape = self.shares_of(height, width), dict[tuple[int, int], list[tuple[Part, View, Tensor]]]()
            for part, share in zip(self.parts, shares, strict=True):
                if share.any():
                    view = self._view(part.region, height, width)
                    by_shape.setdefault(view.shape, []).append((part, view, share[:, *view]))
            found = []
            for own in by_shape.values():
                parts, views, given = (list(column) for column in zip(*own, strict=True))
                guide = Guidance(self.base, [part.request for part in parts], self.scale, self.controls)
                found.append(Together(guide, parts, views, torch.stack(given), []))
            self.found[height, width] = found
        return self.found[height, width]

    def shares_of(self, height: int, width: int) -> Tensor:
        """How much each part gives at each place [parts, 1, height, width]; those of a picture sum to 1."""
        areas = torch.stack([area_of(part.region, height, width) for part in self.parts])
        found = areas.clone()
        for i in {part.source for part in self.parts}:
            mine = [k for k, part in enumerate(self.parts) if part.source == i]
            inside = [k for k in mine if self.parts[k].region is not None]
            (rest,) = (k for k in mine if self.parts[k].region is None)
            total = areas[inside].sum(0) if inside else torch.zeros_like(areas[0])
            found[rest] = (1 - total).clamp(min=0)
            found[mine] = found[mine] / found[mine].sum(0)
        return found[:, None]

    def _view(self, region: Region | None, height: int, width: int) -> View:
        area, least = area_of(region, height, width) > 0, self.base.latent_shape[1]
        sides = (_widened(area.any(dim), least, self.base.denoiser.multiple) for dim in (1, 0))
        return View(*sides)


def _widened(inside: Tensor, least: int, multiple: int) -> slice:
    """The shortest stretch around all that is true in [count], of at least a length; a multiple, as `count` is."""
    begin, end = int(inside.nonzero()[0]), int(inside.nonzero()[-1]) + 1
    size = min(len(inside), max(least, multiple * math.ceil((end - begin) / multiple)))
    begin = min(max(0, (begin + end - size) // 2), len(inside) - size)
    return slice(begin, begin + size)


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
