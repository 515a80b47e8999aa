"""Finds pictures that are nearly the same: by perceptual hashes, confirmed by their colours at 16 x 16."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from .findings import Finding

if TYPE_CHECKING:
    from imagehash import ImageHash

HASH = 16  # cells of a hash, to a side: 256 bits
HASHED = 4 * HASH  # pixels of the picture that is hashed, to a side
SIDE = 16  # pixels of the picture that is compared by its colours


@dataclass(frozen=True)
class Near:
    """How far apart two pictures may be and still be nearly the same. Chosen by `benchmarks/junk.py`.

    Attributes:
        bits: of 256 in which the hashes of luminance differ, at most.
        colours: the unit of the mean difference of colours at 16 x 16, 0 to 255.
        most: of bits / `bits` + colours / `colours`.
        described: the same, if their captions differ.
    """

    bits: int = 64
    colours: float = 12.0
    most: float = 1.3
    described: float = 0.6

    def holds(self, bits: int, colours: float, same_caption: bool) -> bool:
        most = self.most if same_caption else self.described
        return bits <= self.bits and bits / self.bits + colours / self.colours <= most


NEAR = Near()


@dataclass(frozen=True)
class Print:
    """What two pictures are compared by: hash and colours, and those of the mirror image. `area`: in pixels."""

    area: int
    hashes: tuple[ImageHash, ImageHash]
    colours: tuple[NDArray[np.float64], NDArray[np.float64]]

    @classmethod
    def of(cls, picture: Image.Image) -> Print:
        from imagehash import phash

        colours = np.asarray(picture.resize((SIDE, SIDE), Image.Resampling.BOX), np.float64)
        grey = picture.convert("L").resize((HASHED, HASHED), Image.Resampling.LANCZOS)  # as `phash` begins
        hashes = phash(grey, HASH), phash(ImageOps.mirror(grey), HASH)
        return cls(picture.width * picture.height, hashes, (colours, colours[:, ::-1]))

    def apart(self, other: Print) -> tuple[int, float, bool]:
        """Bits and colours apart, and whether mirrored; of the nearer of picture and mirror image."""
        found = [
            (int(self.hashes[0] - other.hashes[side]), float(np.abs(self.colours[0] - other.colours[side]).mean()))
            for side in (0, 1)
        ]
        mirrored = found[1] < found[0]
        return (*found[mirrored], mirrored)


def near_copies(
    names: Sequence[str], prints: Sequence[Print], captions: Sequence[str], near: Near = NEAR
) -> Iterator[Finding]:
    """A finding for each picture that is nearly the same as a larger one, or as an earlier one of the same size.

    A mirror image with a caption of its own is taken for wanted.
    """
    order = sorted(range(len(names)), key=lambda i: (-prints[i].area, i))
    kept: list[int] = []
    for i in order:
        for other in kept:
            bits, colours, mirrored = prints[i].apart(prints[other])
            same = captions[i] == captions[other]
            if near.holds(bits, colours, same) and (same or not mirrored):
                how = "the mirror image of" if mirrored else "nearly the same picture as"
                yield Finding("near-copy", f"{how} {names[other]}", names[i], float(bits))
                break
        else:
            kept.append(i)
