"""Finds a mark that lies at one place in many pictures, such as a watermark, a logo or a date.

What the pictures themselves show has edges at other places in each, so the median of their gradients is 0 but where the
mark is (Dekel et al., "On the Effectiveness of Visible Watermarks", CVPR 2017, section 3.1).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from PIL import Image
from scipy import ndimage

from .findings import Finding

SIDE = 128  # pixels at which pictures are compared
FEWEST = 6  # pictures by which a mark can be told
STEP = 0.03  # the least median gradient of a mark, in luminance for each pixel
EDGES = 100  # the least number of its pixels
LARGEST = 0.25  # part of the picture that the mark's box may take
OUTSIDE = 0.2  # how far its middle lies from the picture's middle, at least, as a part of the side
NEAR = 5  # pixels between letters of one mark


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
    slopes = np.array([np.gradient(np.asarray(picture, np.float64) / 255) for picture in pictures])
    marked = np.hypot(*np.median(slopes, axis=0)) > STEP
    parts, _ = ndimage.label(ndimage.binary_dilation(marked, iterations=NEAR // 2 + 1))
    for number, box in enumerate(ndimage.find_objects(parts), 1):
        edges = int((marked & (parts == number)).sum())
        area = (box[0].stop - box[0].start) * (box[1].stop - box[1].start) / SIDE**2
        down, right = ((side.start + side.stop) / 2 / SIDE - 0.5 for side in box)
        if edges >= EDGES and area <= LARGEST and max(abs(down), abs(right)) >= OUTSIDE:
            where = f"{_word(down, 'top', 'bottom')} {_word(right, 'left', 'right')}".strip()
            said = f"the same mark, such as a watermark or a date, lies in most pictures: {where}"
            yield Finding("overlay", said, value=float(edges))
            return


def _word(offset: float, low: str, high: str) -> str:
    return low if offset < -OUTSIDE else high if offset > OUTSIDE else ""
