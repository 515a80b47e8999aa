"""Sampling that begins with a picture, and changes all of it or what a mask shows.

Dimensions: C channels, H height and W width of the latents.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from ..base.model import CHANGED
from ..errors import TriptychError

if TYPE_CHECKING:
    from PIL.Image import Image

Box = tuple[int, int, int, int]  # left, top, right, bottom, in pixels


@dataclass(frozen=True, eq=False)
class Start:
    """A picture to begin with, at the size of the new picture.

    Attributes:
        picture: RGB.
        mask: white where the picture changes, grey where old and new are mixed; None: everywhere.
        fill: what is under the mask at the beginning: "original"; "blur", the colours around it; "noise" or "nothing",
            in the latents.
        whole: the picture that the new one is pasted into, and `box` the place; None where it is the whole picture.
    """

    picture: Image
    mask: Image | None = None
    fill: str = "original"
    whole: Image | None = None
    box: Box = (0, 0, 0, 0)

    @classmethod
    def of(
        cls, picture: Image, size: tuple[int, int], mask: Image | None = None, blur: int = 4, fill: str = "original",
        padding: int | None = None,
    ) -> Start:  # fmt: skip
        """A start from a picture of any size.

        Args:
            size: width and height of the new picture, in pixels.
            mask: of the size of the picture; white where it changes.
            blur: standard deviation of the edge of the mask, in pixels of the picture.
            padding: pixels around the mask, if the masked part alone is sampled, at the full size.

        Raises:
            TriptychError: the mask is of another size than the picture, or shows nothing.
        """
        from PIL import ImageFilter, ImageOps
        from PIL.Image import Resampling

        picture = picture.convert("RGB")
        if mask is None:
            return cls(ImageOps.fit(picture, size, Resampling.LANCZOS))
        if mask.size != picture.size:
            raise TriptychError(sizes_differ(mask.size, picture.size))
        mask = mask.convert("L")
        edge = mask.getbbox()
        if edge is None:
            raise TriptychError("the mask is black, so that nothing would change: make what shall change white")
        soft = mask.filter(ImageFilter.GaussianBlur(blur)) if blur else mask
        if fill == "blur":
            picture = _blurred(picture, mask)
        if padding is None:
            fitted, fitted_mask = (ImageOps.fit(image, size, Resampling.LANCZOS) for image in (picture, soft))
            return cls(fitted, fitted_mask, fill)
        box = _around(edge, padding, picture.size, size)
        cut, cut_mask = (image.crop(box).resize(size, Resampling.LANCZOS) for image in (picture, soft))
        return cls(cut, cut_mask, fill, picture, box)

    def filled(self, clean: Tensor, noise: Tensor) -> Tensor:
        """The latents [C, H, W] to begin with, from those of the picture."""
        if self.fill == "noise":
            return torch.where(self.changed(noise), noise, clean)
        return clean * ~self.changed(noise) if self.fill == "nothing" else clean

    def changed(self, latents: Tensor) -> Tensor:
        """Where latents [..., H, W] change: booleans [1, H, W]."""
        height, width = latents.shape[-2:]
        if self.mask is None:
            return torch.ones(1, height, width, dtype=torch.bool, device=latents.device)
        from PIL.Image import Resampling

        small = np.asarray(self.mask.resize((width, height), Resampling.BOX))
        return torch.from_numpy(small >= CHANGED).unsqueeze(0).to(latents.device)

    def finished(self, drawn: Image) -> Image:
        """The new picture: what was sampled where the mask is white, the old one elsewhere."""
        if self.mask is None:
            return drawn
        from PIL import Image
        from PIL.Image import Resampling

        if self.whole is None:
            old, mask = (image.resize(drawn.size, Resampling.LANCZOS) for image in (self.picture, self.mask))
            return Image.composite(drawn, old, mask)
        left, top, right, bottom = self.box
        size = (right - left, bottom - top)
        made = self.whole.copy()
        made.paste(drawn.resize(size, Resampling.LANCZOS), (left, top), self.mask.resize(size, Resampling.LANCZOS))
        return made


def _blurred(picture: Image, mask: Image) -> Image:
    """The picture with the masked part filled by the colours around it, far ones less."""
    from PIL import Image, ImageFilter, ImageOps

    filled = Image.new("RGBA", picture.size)
    known = picture.convert("RGBA")
    known.putalpha(ImageOps.invert(mask))
    for radius in (256, 64, 16, 4, 0):
        blurred = known.convert("RGBa").filter(ImageFilter.GaussianBlur(radius))  # colours times opacity, so that
        filled.alpha_composite(blurred.convert("RGBA"))  # what is under the mask gives none of its own
    return filled.convert("RGB")


def _around(edge: Box, padding: int, within: tuple[int, int], size: tuple[int, int]) -> Box:
    """The box around a mask with padding, grown to the shape of `size` as far as the picture goes."""
    left, top, right, bottom = edge
    left, top = max(left - padding, 0), max(top - padding, 0)
    right, bottom = min(right + padding, within[0]), min(bottom + padding, within[1])
    shape = size[0] / size[1]
    if (right - left) / (bottom - top) < shape:
        left, right = _grown(left, right, round((bottom - top) * shape), within[0])
    else:
        top, bottom = _grown(top, bottom, round((right - left) / shape), within[1])
    return left, top, right, bottom


def _grown(begin: int, end: int, length: int, most: int) -> tuple[int, int]:
    """A stretch of `length` around another one, moved so that it lies between 0 and `most`."""
    length = min(length, most)
    begin = min(max((begin + end - length) // 2, 0), most - length)
    return begin, begin + length


def sizes_differ(mask: tuple[int, int], picture: tuple[int, int]) -> str:
    """What is said of a mask of another size than its picture."""
    return f"the mask is {mask[0]} x {mask[1]} pixels, and the picture {picture[0]} x {picture[1]}"
