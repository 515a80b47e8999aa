"""What pixels alone can tell where a base's world is described: background, place, size and subject of a picture.

A picture of such a world is one drawing on a plain background; a base that draws one says so in its `world.toml`.
"""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from ..errors import TriptychError
from .colour import lab

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

Pixels = NDArray[np.uint8]  # [height, width, 3], red, green, blue
Mask = NDArray[np.bool_]  # [height, width]
Floats = NDArray[np.float64]

BORDER = 2 / 64  # width of the border that shows the background, as a part of the picture's side
NEAR = 25.0  # largest distance in CIELAB at which a colour still has a name
DIFFERENT = 10.0  # smallest distance in CIELAB from a plain background at which a pixel belongs to the drawing
NOISE = 3.0  # how many times a background's own unevenness a pixel of the drawing is farther than that
SPECK = 0.1  # area, as a part of the largest part's, below which a part is no part of the drawing
SLACK = 0.07  # how much a drawing may exceed its box, as a part of the picture's side
ASIDE = 0.11  # how far from the middle, as a part of the width, a drawing's centre lies when it is left or right
SHAPE = 16  # cells of a silhouette, to a side
NAMELESS = ""  # among the names of colours: none of them


@dataclass(frozen=True)
class Specimen:
    """A picture of which it is known what it shows."""

    subject: str
    picture: Image.Image


@dataclass(frozen=True)
class Composition:
    """Where a drawing is put, and how large; `side` is that of its box, as a part of the picture's."""

    place: str
    size: str
    side: float


@dataclass(frozen=True)
class Asked:
    """What a prompt names; None where it leaves it open."""

    subject: str | None
    background: str | None
    place: str | None
    size: str | None


@dataclass(frozen=True)
class World:
    """What is checked: colours by name, places by phrase, ranges of sizes, and drawings of every subject."""

    backgrounds: Mapping[str, tuple[int, int, int]]
    background_phrase: str  # with "{background}"
    places: Mapping[str, str]  # name -> phrase, "" where a caption says nothing
    sizes: Mapping[str, str]  # name -> word, "" where a caption says nothing; the smallest first
    sides: tuple[float, ...]  # the side of the box that a drawing of each size fills, as a part of the picture's side
    gallery: tuple[Specimen, ...]

    @classmethod
    def open(cls, folder: Path) -> World | None:
        """The world of the base in `folder`, None where it does not describe one.

        Raises:
            TriptychError: `world.toml` or `gallery.png` is there but cannot be understood.
        """
        path = folder / "world.toml"
        if not path.exists():
            return None
        try:
            facts: dict[str, Any] = tomllib.loads(path.read_text(encoding="utf-8"))
            sizes = dict(sorted(facts["sizes"].items(), key=lambda size: size[1]["side"]))
            return cls(
                backgrounds={name: (rgb[0], rgb[1], rgb[2]) for name, rgb in facts["backgrounds"].items()},
                background_phrase=facts["grammar"]["background"],
                places={name: place["phrase"] for name, place in facts["places"].items()},
                sizes={name: size["word"] for name, size in sizes.items()},
                sides=tuple(float(size["side"]) for size in sizes.values()),
                gallery=_gallery(folder / "gallery.png", list(facts["subjects"]), facts["picture"]["pixels"]),
            )
        except (OSError, ValueError, KeyError, TypeError, IndexError, AttributeError) as error:
            raise TriptychError(f"cannot understand {path}: {error!r}; restore it from where the base comes") from error

    @property
    def words(self) -> dict[str, tuple[str, ...]]:
        """The things and backgrounds that a prompt can name."""
        things = tuple(dict.fromkeys(specimen.subject for specimen in self.gallery))
        return {"thing": things, "background": tuple(self.backgrounds)}

    def asked(self, prompt: str) -> Asked:
        """What a prompt names of subject (one that the gallery shows), background, place and size."""
        subjects = {specimen.subject: specimen.subject for specimen in self.gallery}
        phrases = {name: self.background_phrase.format(background=name) for name in self.backgrounds}
        return Asked(*(_named(prompt, words) for words in (subjects, phrases, self.places, self.sizes)))

    def background(self, pixels: Pixels) -> str | None:
        """The name of the background, None where none of the named colours is near."""
        distances = self.background_distances(pixels)
        return min(distances, key=lambda name: distances[name]) or None

    def background_distances(self, pixels: Pixels) -> dict[str, float]:
        """Name -> distance in CIELAB of its colour from the border's; `NAMELESS` lies where a colour loses its name."""
        named = lab(np.array(list(self.backgrounds.values())))
        distances = np.linalg.norm(named - lab(border_colour(pixels)), axis=-1).tolist()
        return {NAMELESS: NEAR, **dict(zip(self.backgrounds, distances, strict=True))}

    def place_distances(self, region: Mask) -> dict[str, float]:
        """Place -> how far the drawing's middle is from the middle of its places; empty where nothing is drawn."""
        if not region.any():
            return {}
        aside = _aside(region)
        return {"left": abs(aside + 2 * ASIDE), "centre": abs(aside), "right": abs(aside - 2 * ASIDE)}

    def size_distances(self, region: Mask) -> dict[str, float]:
        """Size -> how many sizes it is from the one whose box holds the drawing; empty where nothing is drawn."""
        names, found = list(self.sizes), self.size(region)
        return {name: abs(i - names.index(found)) for i, name in enumerate(names)} if found else {}

    @property
    def compositions(self) -> list[Composition]:
        """What a drawing can be asked to be: of each size in the middle, and the smallest at each other place."""
        sizes = list(zip(self.sizes, self.sides, strict=True))
        middle = [Composition("centre", size, side) for size, side in sizes]
        return [*middle, *(Composition(place, *sizes[0]) for place in self.places if place != "centre")]

    def size(self, region: Mask) -> str | None:
        """The smallest size whose box holds the drawing, None where nothing is drawn."""
        if not region.any():
            return None
        top, bottom, left, right = box(region)
        side = max((bottom - top) / region.shape[0], (right - left) / region.shape[1])
        holds = (name for name, largest in zip(self.sizes, self.sides, strict=True) if side <= largest + SLACK)
        return next(holds, list(self.sizes)[-1])


def border_colour(pixels: Pixels) -> Floats:
    """[3]: the median colour of the picture's border."""
    return np.asarray(np.median(pixels[_border(pixels)], axis=0), np.float64)


def mask(pixels: Pixels) -> Mask:
    """Which pixels belong to the drawing: they and their neighbours differ from the border; specks do not count."""
    distance = np.linalg.norm(lab(pixels) - lab(border_colour(pixels)), axis=-1)
    far = distance > DIFFERENT + NOISE * np.median(distance[_border(distance)])
    mostly = ndimage.uniform_filter(far.astype(np.float64), 3, mode="constant") > 0.5
    parts, _ = ndimage.label(mostly)
    area = np.bincount(parts.ravel())
    area[0] = 0
    return np.asarray(mostly & (area >= SPECK * area.max())[parts], bool)


def place(region: Mask) -> str | None:
    """ "left", "centre" or "right" by the middle of the drawing, None where nothing is drawn."""
    if not region.any():
        return None
    aside = _aside(region)
    return "left" if aside < -ASIDE else "right" if aside > ASIDE else "centre"


def _aside(region: Mask) -> float:
    """How far right of the middle the drawing's middle lies, as a part of the width, -0.5 to 0.5."""
    columns = region.sum(axis=0)
    return float(columns @ (np.arange(len(columns)) + 0.5)) / float(columns.sum()) / len(columns) - 0.5


def box(region: Mask) -> tuple[int, int, int, int]:
    """Top, bottom, left and right (ends excluded) of a drawing that is there."""
    rows, columns = np.flatnonzero(region.any(axis=1)), np.flatnonzero(region.any(axis=0))
    return int(rows[0]), int(rows[-1]) + 1, int(columns[0]), int(columns[-1]) + 1


def cut_out(picture: Image.Image, ground: tuple[int, int, int] = (128, 128, 128)) -> Image.Image:
    """The drawing alone, in the middle of a grey square that it just fits: background, place and size are gone."""
    pixels = np.asarray(picture.convert("RGB"))
    region = mask(pixels)
    if not region.any():
        return Image.new("RGB", picture.size, ground)
    top, bottom, left, right = box(region)
    height, width = bottom - top, right - left
    side = max(height, width)
    square = np.full((side, side, 3), ground, np.uint8)
    y, x = (side - height) // 2, (side - width) // 2
    inside = (slice(top, bottom), slice(left, right))
    square[y : y + height, x : x + width][region[inside]] = pixels[inside][region[inside]]
    return Image.fromarray(square)


def composed(picture: Image.Image, ground: tuple[int, int, int], composition: Composition) -> Image.Image:
    """The drawing of a picture on a plain background, of the same size as the picture, at a place and in a size."""
    pixels = np.asarray(picture.convert("RGB"))
    region = mask(pixels)
    whole = Image.new("RGB", picture.size, ground)
    if not region.any():
        return whole
    top, bottom, left, right = box(region)
    scale = composition.side * picture.width / max(bottom - top, right - left)
    width, height = (max(1, round(length * scale)) for length in (right - left, bottom - top))
    inside = (slice(top, bottom), slice(left, right))
    shape, colours = (
        Image.fromarray(part).resize((width, height), Image.Resampling.BICUBIC)
        for part in ((region[inside] * 255).astype(np.uint8), pixels[inside])
    )
    room = picture.width - width
    across = {"left": 0, "right": room}.get(composition.place, room // 2)
    whole.paste(colours, (across, (picture.height - height) // 2), shape)
    return whole


def silhouette(picture: Image.Image) -> Floats:
    """[256]: the drawing's shape, holes filled, on a square of 16 x 16 that its box just fits; 0 to 1."""
    region = mask(np.asarray(picture.convert("RGB")))
    if not region.any():
        return np.zeros(SHAPE * SHAPE)
    top, bottom, left, right = box(region)
    height, width = bottom - top, right - left
    square = np.zeros((max(height, width),) * 2, np.uint8)
    y, x = (len(square) - height) // 2, (len(square) - width) // 2
    square[y : y + height, x : x + width] = 255 * ndimage.binary_fill_holes(region[top:bottom, left:right])
    small = Image.fromarray(square).resize((SHAPE, SHAPE), Image.Resampling.BOX)
    return np.asarray(small, np.float64).ravel() / 255


def _border(pixels: NDArray[Any]) -> Mask:
    width = max(1, round(BORDER * len(pixels)))
    ring = np.ones(pixels.shape[:2], bool)
    ring[width:-width, width:-width] = False
    return ring


def _named(prompt: str, phrases: Mapping[str, str]) -> str | None:
    """The first whose phrase the prompt has, in whole words."""
    return next(
        (name for name, phrase in phrases.items() if phrase and re.search(rf"\b{re.escape(phrase)}\b", prompt)), None
    )


def _gallery(path: Path, subjects: list[str], side: int) -> tuple[Specimen, ...]:
    """The sheet's tiles: a column a subject, in the order of `world.toml`, a row a style; plain tiles are left out."""
    if not path.exists():
        return ()
    with Image.open(path) as picture:
        sheet = picture.convert("RGB")
    tiles = [
        Specimen(subject, sheet.crop((side * column, top, side * (column + 1), top + side)))
        for column, subject in enumerate(subjects)
        for top in range(0, sheet.height, side)
    ]
    return tuple(tile for tile in tiles if mask(np.asarray(tile.picture)).any())
