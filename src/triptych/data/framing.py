"""Frames pictures for training: as centre squares, or as they are, in buckets of equal size.

A bucket is a size whose area is at most that of the square of the resolution, with sides in steps. These are the areas
and steps of kohya's trainer and of SDXL (arXiv:2307.01952, section 2.3 and appendix I).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import cache
from typing import TYPE_CHECKING

from PIL import Image, ImageOps

from ..base import Framing

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..base import Base
    from ..options import PictureOptions
    from .concept import Concept

STEPS = 16  # to the resolution's side, at most: 64 pixels at 1024
LONGEST = 2.0  # the longest side of a bucket, as a part of the resolution
TOLD = 0.05  # part of a picture from which it is said that it is cut away

Size = tuple[int, int]  # width and height, in pixels


@dataclass(frozen=True)
class Framed:
    """A picture as it is trained on.

    Attributes:
        framing: its original size and where the crop begins in the scaled picture; None where no model is told.
        cut: the part of its area that is cut away, 0 to 1.
        scale: pixels of the picture for each original pixel, along a side.
    """

    picture: Image.Image
    framing: Framing | None
    cut: float
    scale: float


def square(picture: Image.Image, resolution: int) -> Framed:
    """The centre square of `resolution` pixels; smaller pictures are enlarged."""
    cut = 1 - min(picture.size) / max(picture.size)
    fitted = ImageOps.fit(picture, (resolution, resolution), Image.Resampling.LANCZOS)
    return Framed(fitted, None, cut, resolution / min(picture.size))


def acting(options: PictureOptions, concepts: Sequence[Concept], resolution: int) -> PictureOptions:
    """The options as they act: where all pictures are squares and large enough, buckets are centre squares."""
    sizes = (picture.size for concept in concepts for picture in concept.pictures)
    alike = all(width == height >= resolution for width, height in sizes)
    return replace(options, framing="square") if alike else options


def step_of(base: Base) -> int:
    """The step of a bucket's sides in pixels: what the denoiser can take, at least resolution / 16."""
    least = base.pixels * base.denoiser.multiple
    return least * max(1, math.ceil(base.resolution / STEPS / least))


@cache
def buckets(resolution: int, step: int) -> tuple[Size, ...]:
    """All buckets, the narrowest first: each width with the greatest height that keeps the area of the square."""
    area, longest = resolution * resolution, int(LONGEST * resolution) // step * step
    widths = range(step * math.ceil(resolution / 2 / step), longest + 1, step)
    sizes = {(width, min(longest, area // width // step * step)) for width in widths}
    sizes |= {(height, width) for width, height in sizes}
    return tuple(sorted(size for size in sizes if min(size) >= step))


def bucket_of(size: Size, resolution: int, step: int) -> Size:
    """The bucket for a picture of a size. A smaller picture keeps its size, in steps: nothing is enlarged.

    Of the buckets the one of the nearest aspect ratio, on a logarithmic scale, is taken; of equal ones the largest.
    """
    ratio = math.log(size[0] / size[1])
    known = buckets(resolution, step)
    chosen = min(known, key=lambda bucket: (abs(math.log(bucket[0] / bucket[1]) - ratio), -bucket[0] * bucket[1]))
    if size[0] >= chosen[0] and size[1] >= chosen[1]:
        return chosen
    own = [max(step, min(side, most) // step * step) for side, most in zip(size, chosen, strict=True)]
    return own[0], own[1]


def bucketed(picture: Image.Image, resolution: int, step: int, place: tuple[float, float] = (0.5, 0.5)) -> Framed:
    """The picture in its bucket: scaled down until it just covers it, and cut at a place.

    Args:
        place: where the crop lies, 0 (left, top) to 1 (right, bottom).
    """
    width, height = bucket_of(picture.size, resolution, step)
    scale = max(width / picture.width, height / picture.height)
    size = (max(width, round(picture.width * scale)), max(height, round(picture.height * scale)))
    scaled = picture if size == picture.size else picture.resize(size, Image.Resampling.LANCZOS)
    left, top = round(place[0] * (size[0] - width)), round(place[1] * (size[1] - height))
    framing = Framing(picture.height, picture.width, top, left)
    cut = 1 - width * height / (size[0] * size[1])
    return Framed(scaled.crop((left, top, left + width, top + height)), framing, cut, scale)


def told(names: Sequence[str], framed: Sequence[Framed], resolution: int) -> list[str]:
    """Lines on what is cut away, on pictures that stay small, and on the buckets."""
    lines = []
    sizes: dict[Size, int] = {}
    for frame in framed:
        sizes[frame.picture.size] = sizes.get(frame.picture.size, 0) + 1
    if any(frame.framing for frame in framed):
        listed = ", ".join(f"{w} x {h}: {count}" for (w, h), count in sorted(sizes.items()))
        lines.append(f"buckets (width x height: pictures): {listed}")
    cut = [(name, frame.cut) for name, frame in zip(names, framed, strict=True) if frame.cut > TOLD]
    if cut:
        worst = sorted(cut, key=lambda pair: -pair[1])
        named = ", ".join(f"{name} {part:.0%}" for name, part in worst[:4])
        more = f" and {len(worst) - 4} more" if len(worst) > 4 else ""
        lines.append(f"cut away of pictures: {named}{more}")
    enlarged = [name for name, frame in zip(names, framed, strict=True) if frame.scale > 1]
    if enlarged:
        lines.append(f"enlarged to {resolution} pixels: {len(enlarged)} of {len(framed)} pictures")
    return lines
