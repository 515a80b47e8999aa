"""Masks: weights of the loss, from a picture of grey beside each picture, from a folder of masks, or from transparency.

White counts fully, black does not count. A mask is scaled and cut like its picture, and averaged over each position of
the latent. Peers name masks `cat_mask.png` or `cat-masklabel.png` beside `cat.png`, or put `cat.png` into a folder.
"""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import sha256
from typing import TYPE_CHECKING

import numpy as np
import torch
from PIL import Image, ImageOps

from ..errors import TriptychError, first_line
from .folder import MASK, MASK_FOLDERS
from .pictures import read_picture, suffixes

if TYPE_CHECKING:
    from pathlib import Path


def mask_beside(path: Path) -> Path | None:
    """The mask of a picture: beside it, or of its stem in a folder `masks` beside it; None where there is none."""
    for other in sorted(path.parent.iterdir()):
        match = MASK.fullmatch(other.stem)
        if match and match[1].lower() == path.stem.lower() and other.suffix.lower() in suffixes():
            return other
    for folder in MASK_FOLDERS:
        for other in sorted((path.parent / folder).glob("*")):
            if other.stem.lower() == path.stem.lower() and other.suffix.lower() in suffixes():
                return other
    return None


def mask_of(path: Path) -> Image.Image | None:
    """The mask of a picture in grey: that beside it, else its transparency; None where it has neither.

    Raises:
        TriptychError: the mask cannot be read.
    """
    beside = mask_beside(path)
    try:
        with Image.open(beside or path) as opened:
            upright = ImageOps.exif_transpose(opened)
            if beside:
                return upright.convert("L")
            return upright.convert("RGBA").getchannel("A") if upright.has_transparency_data else None
    except Exception as error:  # decoders raise any type on damaged bytes
        raise TriptychError(f"cannot read the mask {beside or path}: {first_line(error)}") from error


def framed_mask(path: Path, resolution: int) -> Image.Image | None:
    """The mask of a picture in grey, cropped and scaled as `Concept.images` does the picture; None where it has none.

    Raises:
        TriptychError: the picture or the mask cannot be read.
    """
    mask = mask_of(path)
    if mask is None:
        return None
    whole = mask.resize(read_picture(path).size)
    return ImageOps.fit(whole, (resolution, resolution), Image.Resampling.BILINEAR)


def digest_of(paths: Iterable[Path]) -> str:
    """SHA-256 over the files of the masks beside pictures, in order. Transparency is part of the pictures' own files.

    Raises:
        TriptychError: a mask cannot be read.
    """
    digest = sha256()
    for path in paths:
        beside = mask_beside(path)
        try:
            digest.update(sha256(beside.read_bytes() if beside else b"").digest())
        except OSError as error:
            raise TriptychError(f"cannot read the mask {beside}: {first_line(error)}") from error
    return digest.hexdigest()


def weights_of(mask: Image.Image, size: tuple[int, int], pixels: int) -> torch.Tensor | None:
    """Weights of the positions of a latent [height, width], 0 to 1; None where all are 1.

    Args:
        mask: framed as its picture.
        size: of the picture, width and height.
        pixels: of the picture for each position, along a side.

    Raises:
        TriptychError: nothing of the picture counts.
    """
    width, height = size[0] // pixels, size[1] // pixels
    small = np.asarray(mask.resize((width, height), Image.Resampling.BOX), np.float32) / 255
    if not small.any():
        raise TriptychError("a mask is black where its picture is trained on, so nothing of the picture would count")
    return None if (small == 1).all() else torch.from_numpy(small.copy())
