"""How much of a batch the autoencoder takes at once: whole pictures, one picture, or tiles of one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from diffusers import AutoencoderKL

MOST = 2**21  # pixels that are taken at once, where nothing else is asked: 1448 x 1448


def is_large(pixels: int) -> bool:
    """Whether so many pixels are too many to be taken at once, where nothing else is asked."""
    return pixels > MOST


@contextmanager
def in_parts(vae: AutoencoderKL, count: int, pixels: int, tiled: bool | None = None) -> Iterator[None]:
    """The autoencoder takes `count` pictures of so many pixels each in parts inside the `with` block.

    Tiles are as large as the pictures that it was trained on, and overlap by a quarter. Their seams are blended, so
    that colours can differ a little from those of the whole.

    Args:
        tiled: whether pictures are cut into tiles; None: from `MOST` pixels on. A batch of more pixels than that is
            taken one picture at a time, with the same result.
    """
    before = vae.use_tiling, vae.use_slicing
    vae.use_tiling = is_large(pixels) if tiled is None else tiled
    vae.use_slicing = vae.use_tiling or is_large(count * pixels)
    try:
        yield
    finally:
        vae.use_tiling, vae.use_slicing = before
