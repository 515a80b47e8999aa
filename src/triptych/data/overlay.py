"""Finds a mark that lies at one place in many pictures, such as a watermark, a logo or a date.

A mark's edges have one direction at one place in all pictures, and what the pictures show has its edges elsewhere in
each. Dekel et al., "On the Effectiveness of Visible Watermarks", CVPR 2017, section 3.1, take the median of the
gradients, so a mark must be seen in most pictures. Here they are compared by pairs of pictures: those in which it
cannot be seen, such as white on white, have none and count little.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from .findings import Finding

Floats = NDArray[np.float64]

SIDE = 128  # pixels at which pictures are compared
FEWEST = 6  # pictures by which a mark can be told
STRONG = 0.04  # a gradient from which on it belongs to the picture, and counts no more; luminance for each pixel
FAINT = 2e-4  # the mean squared gradient below which a place is even
WINDOW = (9, 19)  # height and width of a place, in pixels: marks are wider than high
OUTSIDE = 0.25  # how far a mark lies from the middle, at least, as a part of the side
AROUND = 40  # pixels around a place beyond which the pictures are compared for being alike anyway
ALIKE, BY_CHANCE = 0.18, 1.2  # the least coherence of a mark, and what is added to it, divided by the pictures


def small(picture: Image.Image) -> Image.Image:
    """A picture as `look` compares it: a small grey square."""
    return picture.convert("L").resize((SIDE, SIDE), Image.Resampling.LANCZOS)


def look(pictures: Sequence[Image.Image]) -> Iterator[Finding]:
    """At most one finding, about the whole folder. Marks in the middle are not told, since things often lie there.

    Args:
        pictures: as `small` makes them.
    """
    if len(pictures) < FEWEST:
        return
    shared, energy = _shared(pictures)
    even = FAINT * len(pictures)
    everywhere = _smooth(shared) / np.maximum(_smooth(energy), even)
    rows, columns = np.mgrid[:SIDE, :SIDE]
    down, right = (along / SIDE - 0.5 for along in (rows, columns))
    coherence = np.where(np.maximum(np.abs(down), np.abs(right)) < OUTSIDE, -1, everywhere)
    place = np.unravel_index(int(coherence.argmax()), coherence.shape)
    rest = np.hypot(rows - place[0], columns - place[1]) > AROUND
    anyway = max(0.0, float(shared[rest].sum() / max(energy[rest].sum(), even)))
    elsewhere = float(np.sqrt((everywhere[rest] ** 2).mean()))
    found = float(coherence[place]) - anyway - elsewhere
    if found > ALIKE + BY_CHANCE / len(pictures):
        where = f"{_word(down[place], 'top', 'bottom')} {_word(right[place], 'left', 'right')}".strip()
        said = f"the same mark, such as a watermark or a date, lies in many pictures: {where}"
        yield Finding("overlay", said, value=found)


def _shared(pictures: Sequence[Image.Image]) -> tuple[Floats, Floats]:
    """Two maps [height, width]: how far the gradients of the pictures agree, and their squared length.

    Summed over a place, the first divided by the second is 1 if all pictures have the same gradients there, and 0 in
    the mean if they have nothing to do with each other: the mean product of two pictures over the mean square.
    """
    slopes = np.array([np.gradient(np.asarray(picture, np.float64) / 255) for picture in pictures])
    length = np.hypot(slopes[:, 0], slopes[:, 1])[:, None]
    slopes *= np.minimum(1, STRONG / np.maximum(length, 1e-9))
    energy = (slopes**2).sum((0, 1))
    return ((slopes.sum(0) ** 2).sum(0) - energy) / (len(pictures) - 1), energy


def _smooth(values: Floats) -> Floats:
    return np.asarray(ndimage.uniform_filter(values, WINDOW, mode="nearest"))


def _word(offset: float, low: str, high: str) -> str:
    """Which third of the picture it is in; "" for the middle one."""
    return low if offset < -1 / 6 else high if offset > 1 / 6 else ""
