"""Colours in CIELAB, whose distances match human perception."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray

KNOTS = (6, 11, 11)  # of the histogram, in lightness, green to red and blue to yellow
LEAST, MOST = (0.0, -90.0, -90.0), (100.0, 90.0, 90.0)  # CIELAB at the first and the last knot


def lab(rgb: NDArray[Any]) -> NDArray[np.float64]:
    """Convert sRGB colours 0 to 255 to CIELAB (CIE 1976, D65), [..., 3]. Distances are roughly perceptual."""
    value = np.asarray(rgb, np.float64) / 255
    linear = np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)
    to_xyz = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
    white = to_xyz.sum(axis=1)
    t = linear @ to_xyz.T / white
    f = np.where(t > (6 / 29) ** 3, np.cbrt(t), t / (3 * (6 / 29) ** 2) + 4 / 29)
    x, y, z = f[..., 0], f[..., 1], f[..., 2]
    return np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], axis=-1)


def colour_histogram(pictures: NDArray[np.uint8]) -> NDArray[np.float32]:
    """The colour histogram of each picture in CIELAB: [pictures, height, width, 3] to [pictures, 6 x 11 x 11].

    Rows sum to 1. A pixel counts for the eight knots around it by trilinear interpolation, so that a small change of
    colour changes the histogram a little. Colours beyond the outer knots count for these.
    """
    last = np.array(KNOTS) - 1
    at = ((lab(pictures) - LEAST) / np.subtract(MOST, LEAST) * last).clip(0, last)
    below = np.minimum(at.astype(int), last - 1)
    share = at - below
    bins = int(np.prod(KNOTS))
    row = bins * np.arange(len(pictures))[:, None, None]
    found = np.zeros(bins * len(pictures))
    for corner in product((0, 1), repeat=3):
        weights = np.where(corner, share, 1 - share).prod(axis=-1)
        knots = np.ravel_multi_index(tuple(np.moveaxis(below + corner, -1, 0)), KNOTS) + row
        found += np.bincount(knots.ravel(), weights.ravel(), len(found))
    shares: NDArray[np.float32] = (found.reshape(len(pictures), bins) / at[0, ..., 0].size).astype(np.float32)
    return shares
