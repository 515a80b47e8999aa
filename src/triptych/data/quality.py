"""Measures of a single picture: blur, exposure, compression, shape, bars. They need neither torch nor a model.

Pictures are RGB. Luminance is that of ITU-R BT.601, 0 to 1. Blur is measured at the size that a training uses, since
blur that vanishes when a picture is scaled down does no harm.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from .findings import Finding

if TYPE_CHECKING:
    from pathlib import Path

Floats = NDArray[np.float64]

PLAIN_SIDE, PLAIN_STEP = 64, 0.02  # of the shorter side, in pixels; luminance between neighbours
COMPARED = 2048  # pixels of the longer side at which pictures are looked at
WINDOW = 0.09  # of the blur that a picture is compared with, as a part of the shorter side
TILES = 4  # to a side: a picture is as sharp as its sharpest tile
BUSY = 0.25  # a tile counts if it has this part of the edges of the busiest tile
GRAIN = 1.5 / 255  # steps up to here may come from 8 bits alone
BLOCK = 8  # pixels to a side of a JPEG's blocks
FEWEST_BLOCKS = 12  # to a side, by which they can be told
STRONG = 0.1  # a step from which on it belongs to the picture, and counts no more
STEPPING = 0.3  # part of the borders of blocks that have a step


@dataclass(frozen=True)
class Limits:
    """Where a measure becomes a finding. Chosen by `benchmarks/junk.py` on generated sets.

    Attributes:
        enlarged: how many times the shorter side may be smaller than the resolution.
        blurred: the greatest `blur`.
        softer: how many times the folder's median `blur` is too much, from `soft` on.
        dark: the least luminance of the brightest hundredth of the pixels.
        light: the greatest luminance of the darkest hundredth of the pixels.
        contrast: the least distance in luminance between the darkest and the brightest hundredth.
        blocks: the greatest `blockiness`.
        quality: the least quality of a JPEG, 1 to 100.
        aspect: the longer side over the shorter one.
        bars: the least thickness of bars, as a part of the side.
    """

    enlarged: float = 1.3
    blurred: float = 0.5
    softer: float = 2.5
    soft: float = 0.25
    dark: float = 0.3
    light: float = 0.74
    contrast: float = 0.02
    blocks: float = 0.45
    quality: int = 20
    aspect: float = 2.0
    bars: float = 0.04


LIMITS = Limits()
FEWEST_BESIDE = 5  # pictures from which their median says something
USUAL = 512  # pixels of the shorter side at which blur is measured if the resolution is not known


def scaled_down(picture: Image.Image) -> Image.Image:
    """The picture as it is looked at: at most `COMPARED` pixels a side; the same object if it is no larger."""
    if max(picture.size) <= COMPARED:
        return picture
    small = picture.copy()
    small.thumbnail((COMPARED, COMPARED), Image.Resampling.BOX)
    return small


def luminance(picture: Image.Image, shorter: int = 0) -> Floats:
    """[height, width], 0 to 1. With `shorter`, a larger picture is scaled down to that shorter side."""
    scale = shorter / min(picture.size) if shorter else 1.0
    grey = picture.convert("L")
    if scale < 1:
        width, height = (max(1, round(side * scale)) for side in picture.size)
        grey = grey.resize((width, height), Image.Resampling.LANCZOS)
    return np.asarray(grey, np.float64) / 255


def plain_part(picture: Image.Image) -> float:
    """The part of a picture without edges, 0 to 1, at a shorter side of 64 pixels: large in drawings."""
    grey = luminance(picture, PLAIN_SIDE)
    reach = ndimage.maximum_filter(grey, 3) - ndimage.minimum_filter(grey, 3)
    return float((reach < PLAIN_STEP).mean())


def blur(grey: Floats) -> float:
    """0 (sharp) to 1 (blurred): how little of the edges goes when the picture is blurred once more.

    The no-reference blur metric of Crete et al., 2007 (doi:10.1117/12.702790), of the sharpest of 4 x 4 tiles, so that
    a soft background does not count. 0 for a picture without edges.
    """
    size = max(3, round(WINDOW * min(grey.shape)) | 1)
    kept, total = [], []
    for axis in (0, 1):
        edges = np.abs(np.diff(grey, axis=axis))
        softer = np.abs(np.diff(ndimage.uniform_filter1d(grey, size, axis=axis), axis=axis))
        seen = edges > GRAIN
        total.append(_tiles(np.where(seen, edges, 0.0)))
        kept.append(_tiles(np.where(seen, np.minimum(edges, softer), 0.0)))
    every = np.maximum(*total)
    if not every.max() > 0:
        return 0.0
    shares = np.maximum(*(own / np.maximum(whole, 1e-12) for own, whole in zip(kept, total, strict=True)))
    return float(shares[every >= BUSY * every.max()].min())


def _tiles(values: Floats) -> Floats:
    """[4, 4]: the sums over tiles."""
    rows = [np.array_split(row, TILES, axis=1) for row in np.array_split(values, TILES, axis=0)]
    return np.array([[tile.sum() for tile in row] for row in rows])


def blockiness(grey: Floats) -> float:
    """How much larger steps between neighbours are at the borders of 8 x 8 blocks, relative to all steps; 0: not.

    0 if few of the borders have a step, as in drawings, or if the picture is small.
    """
    found = 0.0
    if min(grey.shape) < FEWEST_BLOCKS * BLOCK:
        return found
    for axis in (0, 1):
        steps = np.moveaxis(np.minimum(np.abs(np.diff(grey, axis=axis)), STRONG), axis, 0)
        lines = steps.mean(axis=1)
        phases = [float(np.median(lines[phase::BLOCK])) for phase in range(BLOCK)]
        stepping = float((steps[BLOCK - 1 :: BLOCK] > GRAIN).mean())
        if stepping > STEPPING and (mean := float(np.mean(phases))) > 0:
            found = max(found, (phases[-1] - max(phases[:-1])) / mean)
    return max(0.0, found)


def _middle(picture: Image.Image) -> Image.Image:
    """The middle of a picture, at most `COMPARED` pixels a side, with the borders of its blocks where they were."""
    left, top = (max(0, side - COMPARED) // 2 // BLOCK * BLOCK for side in picture.size)
    return picture.crop((left, top, min(picture.width, left + COMPARED), min(picture.height, top + COMPARED)))


def jpeg_quality(path: Path) -> int:
    """The quality of a JPEG by its table of luminance, 1 to 100, on the reference encoder's scale; 100 for others."""
    try:
        with Image.open(path) as picture:
            table = getattr(picture, "quantization", {}).get(0)
    except Exception:  # decoders raise any type
        return 100
    if not table:
        return 100
    scale = 100 * float(sum(table)) / 3688  # 3688: the sum of the table of quality 50, in ITU-T T.81, annex K
    return max(1, round(5000 / scale if scale > 100 else (200 - scale) / 2))


def bars(grey: Floats) -> tuple[float, float]:
    """The thickness of bars above and below, and at the sides, as parts of the side; 0 where there are none.

    Bars are even rows on both sides of one tone. The picture begins at once and along the whole border, unlike a
    drawing on a plain background.
    """
    return _bars_of(grey), _bars_of(grey.T)


EVEN, STEP, ALONG = 0.02, 0.04, 0.6


def _bars_of(grey: Floats) -> float:
    height = len(grey)
    sides = []
    for rows in (grey, grey[::-1]):
        if rows[0].std() >= EVEN:
            return 0.0
        even = (rows.std(axis=1) < EVEN) & (np.abs(rows.mean(axis=1) - rows[0].mean()) < EVEN)
        depth = int(np.argmin(even)) if not even.all() else height
        if depth == 0 or depth * 2 >= height:
            return 0.0
        inner = rows[min(depth + 1, height - 1)]  # scaling softens the border of a bar by a pixel
        if (np.abs(inner - rows[0].mean()) > STEP).mean() < ALONG:
            return 0.0
        sides.append(depth / height)
    tones = abs(float(grey[0].mean() - grey[-1].mean()))
    return min(sides) if tones < 2 * EVEN else 0.0


def ends_early(path: Path) -> bool:
    """Whether a JPEG or PNG lacks its end, although it can be decoded."""
    data = path.read_bytes()
    if data[:2] == b"\xff\xd8":
        return b"\xff\xd9" not in data[-4096:]
    return data[:8] == b"\x89PNG\r\n\x1a\n" and b"IEND" not in data[-4096:]


def blurred(blurs: Mapping[str, float], limits: Limits = LIMITS) -> Iterator[Finding]:
    """The pictures of a folder that are blurred, by themselves or beside the others; `blurs`: name -> `blur`."""
    usual = float(np.median(list(blurs.values()))) if len(blurs) >= FEWEST_BESIDE else 1.0
    for name, found in blurs.items():
        if found > limits.blurred:
            yield Finding("blurred", f"blurred ({found:.2f} of 1)", name, found)
        elif found > max(limits.soft, limits.softer * usual):
            yield Finding("blurred", f"blurred beside the others ({found:.2f}, {usual:.2f} is usual here)", name, found)


def look(
    name: str, path: Path, picture: Image.Image, small: Image.Image, resolution: int, limits: Limits = LIMITS
) -> Iterator[Finding]:
    """The findings about one picture but its blur.

    Args:
        small: the picture, scaled down to at most `COMPARED` pixels a side.
        resolution: of the training, in pixels; 0: not known.
    """
    width, height = picture.size
    grey = luminance(small)
    if ends_early(path):
        yield Finding("truncated", "its file lacks an end, so a part of it may be missing", name)
    if resolution > limits.enlarged * min(width, height):
        times = resolution / min(width, height)
        yield Finding(
            "small",
            f"{width} x {height} pixels, {times:.1f} times smaller than the training's {resolution}",
            name,
            times,
        )
    if (ratio := max(width, height) / min(width, height)) > limits.aspect:
        cut = 1 - 1 / ratio
        yield Finding("wide", f"{width} x {height} pixels: a centre square cuts {cut:.0%} of it away", name, ratio)
    yield from _tones(name, grey, limits)
    above, beside = bars(grey)
    if max(above, beside) >= limits.bars:
        where = "above and below" if above >= beside else "at the sides"
        yield Finding("bars", f"bars {where}, {max(above, beside):.0%} each", name, max(above, beside))
    if (quality := jpeg_quality(path)) < limits.quality:
        yield Finding("compressed", f"a JPEG of quality {quality}", name, quality)
    elif (blocks := blockiness(grey if small is picture else luminance(_middle(picture)))) > limits.blocks:
        yield Finding("compressed", f"its JPEG blocks can be seen ({blocks:.2f})", name, blocks)


def _tones(name: str, grey: Floats, limits: Limits) -> Iterator[Finding]:
    darkest, bright = (float(value) for value in np.percentile(grey, [1, 99]))
    if bright - darkest < limits.contrast:
        yield Finding("empty", "nothing but one tone", name, bright - darkest)
    elif bright < limits.dark:
        yield Finding("dark", f"its brightest parts reach {bright:.0%} of white", name, bright)
    elif darkest > limits.light:
        yield Finding("light", f"its darkest parts have {darkest:.0%} of white", name, darkest)
