"""A map of attention as a picture: warm colours over the picture, where a word acts (arXiv:2210.04885)."""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from torch import Tensor

from ..files.atomic import write_bytes

if TYPE_CHECKING:
    from PIL.Image import Image

COLOURS = ((0, 0, 60), (60, 0, 160), (210, 40, 70), (250, 160, 20), (255, 255, 120))  # from the least to the greatest
SHARE = 0.6  # of the colours; the rest is the picture in grey


def heated(picture: Image, found: Tensor) -> Image:
    """The picture in grey with a map [height, width of the latents] over it, from its least to its greatest value."""
    from PIL import Image
    from PIL.Image import Resampling

    values = found.float().cpu().numpy()
    scaled = (values - values.min()) / max(float(np.ptp(values)), 1e-12)
    large = Image.fromarray((scaled * 255).astype(np.uint8)).resize(picture.size, Resampling.BICUBIC)
    shares = np.asarray(large) / 255
    steps = np.linspace(0, 1, len(COLOURS))
    colours = np.stack([np.interp(shares, steps, channel) for channel in zip(*COLOURS, strict=True)], axis=-1)
    return Image.blend(picture.convert("L").convert("RGB"), Image.fromarray(colours.astype(np.uint8)), SHARE)


def save_heat(path: Path, picture: Image, found: Tensor) -> None:
    """
    Raises:
        TriptychError: the file cannot be written.
    """
    buffer = io.BytesIO()
    heated(picture, found).save(buffer, "png")
    write_bytes(path, buffer.getvalue())
