"""Outpainting: a picture grows beyond its edges, and what is new is sampled."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ..errors import TriptychError, shown

if TYPE_CHECKING:
    from PIL.Image import Image

MOST = 4096  # pixels that a side grows by


@dataclass(frozen=True)
class Extension:
    """How many pixels a picture grows by at each side."""

    left: int
    top: int
    right: int
    bottom: int

    @classmethod
    def of(cls, text: str) -> Extension:
        """The extension from "LEFT,TOP,RIGHT,BOTTOM".

        Raises:
            TriptychError: it is of another form, or nothing grows.
        """
        parts = [part.strip() for part in text.split(",")]
        known = len(parts) == 4 and all(part.isdecimal() and len(part) < 5 for part in parts)
        sides = [int(part) for part in parts] if known else []
        if not any(sides) or max(sides) > MOST:
            raise TriptychError(
                f"a picture is extended by LEFT,TOP,RIGHT,BOTTOM in pixels up to {MOST}, such as 0,0,128,0, "
                f"not {shown(text)!r}"
            )
        return cls(*sides)

    def __str__(self) -> str:
        return f"{self.left},{self.top},{self.right},{self.bottom}"

    def rounded(self, size: tuple[int, int], step: int) -> Extension:
        """The least larger extension by which a picture of this size grows to multiples of `step`.

        The rest is added at the right and at the bottom, or at the other side where it alone grows.
        """
        across, down = -(size[0] + self.left + self.right) % step, -(size[1] + self.top + self.bottom) % step
        at_left, at_top = bool(self.left and not self.right), bool(self.top and not self.bottom)
        return Extension(
            self.left + across * at_left, self.top + down * at_top,
            self.right + across * (not at_left), self.bottom + down * (not at_top),
        )  # fmt: skip

    def grown(self, size: tuple[int, int]) -> tuple[int, int]:
        """Width and height of a picture of this size, extended."""
        return size[0] + self.left + self.right, size[1] + self.top + self.bottom

    def canvas(self, picture: Image) -> Image:
        """The picture, with its mirror image in what is new."""
        from PIL import Image

        pixels = np.asarray(picture.convert("RGB"))
        wide = np.pad(pixels, ((self.top, self.bottom), (self.left, self.right), (0, 0)), mode="symmetric")
        return Image.fromarray(wide)

    def mask(self, size: tuple[int, int], mask: Image | None = None, edge: int = 0) -> Image:
        """What changes of the canvas: all that is new, and what a mask of the picture shows.

        Args:
            edge: pixels of the picture beside what is new that change, too, so that a soft edge lies in the picture.
        """
        from PIL import Image

        whole = Image.new("L", self.grown(size), 255)
        kept = Image.new("L", size, 0) if mask is None else mask.convert("L")
        box = (
            min(edge, size[0] // 2) * bool(self.left), min(edge, size[1] // 2) * bool(self.top),
            size[0] - min(edge, size[0] // 2) * bool(self.right),
            size[1] - min(edge, size[1] // 2) * bool(self.bottom),
        )  # fmt: skip
        whole.paste(kept.crop(box), (self.left + box[0], self.top + box[1]))
        return whole
