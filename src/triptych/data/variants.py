"""Varies pictures and captions: flips, crops, colours, order of tags, wildcards. All of it follows from the seed.

A picture with variations is in the training as several examples, which are drawn like those of other pictures. So a
step still depends on the seed alone, and every variation can be encoded once and kept.
"""

from __future__ import annotations

import random
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageOps

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..options import PictureOptions

EXAMPLES = 8  # examples of a picture whose crops, colours or captions vary
CROP = 0.85  # of a side, the least that a random crop keeps
WILDCARD = re.compile(r"\{([^{}|]*(?:\|[^{}|]*)+)\}")


@dataclass(frozen=True)
class Variation:
    """One way of showing a picture.

    Attributes:
        crop: left, top, right and bottom, as parts of the sides; None: the whole picture.
        colour: factors of red, green and blue.
        caption: the template of its caption.
    """

    caption: str
    flip: bool = False
    crop: tuple[float, float, float, float] | None = None
    colour: tuple[float, float, float] = (1.0, 1.0, 1.0)

    @property
    def name(self) -> str:
        """All that changes the pixels, for keys of caches."""
        return f"{self.flip} {self.crop} {self.colour}"

    def framed(self, picture: Image.Image) -> Image.Image:
        """The picture or mask, cropped and flipped."""
        if self.crop:
            left, top, right, bottom = self.crop
            width, height = picture.size
            picture = picture.crop((
                round(left * width), round(top * height), round(right * width), round(bottom * height),
            ))  # fmt: skip
        return ImageOps.mirror(picture) if self.flip else picture

    def coloured(self, picture: Image.Image) -> Image.Image:
        if self.colour == (1.0, 1.0, 1.0):
            return picture
        pixels = np.asarray(picture, np.float32) * np.array(self.colour, np.float32)
        return Image.fromarray(pixels.round().clip(0, 255).astype(np.uint8))


def varied(name: str, template: str, options: PictureOptions, seed: int) -> list[Variation]:
    """The variations of a picture. `name` tells pictures apart, such as a digest."""
    varies = options.crops or options.colours or options.shuffle_tags or WILDCARD.search(template)
    if not varies:
        plain = Variation(template)
        return [plain, Variation(template, flip=True)] if options.flips else [plain]
    return [_drawn(template, options, random.Random(f"variant {seed} {name} {i}"), i) for i in range(EXAMPLES)]


def _drawn(template: str, options: PictureOptions, chance: random.Random, number: int) -> Variation:
    crop, colour = None, (1.0, 1.0, 1.0)
    if options.crops:
        side = chance.uniform(CROP, 1)
        left, top = chance.uniform(0, 1 - side), chance.uniform(0, 1 - side)
        crop = (left, top, left + side, top + side)
    if options.colours:
        reach = options.colours
        light = chance.uniform(1 - reach, 1 + reach)
        tints = [light * chance.uniform(1 - reach / 2, 1 + reach / 2) for _ in range(3)]
        colour = (tints[0], tints[1], tints[2])
    caption = WILDCARD.sub(lambda found: chance.choice(found[1].split("|")).strip(), template)
    if options.shuffle_tags:
        caption = shuffled(caption, options.keep_tags, chance)
    return Variation(caption, options.flips and number % 2 == 1, crop, colour)


def shuffled(caption: str, kept: int, chance: random.Random) -> str:
    """A caption of tags, parted by commas, in another order. Tags with the concept go first, the first `kept` stay."""
    first, rest = _parted(caption, kept)
    chance.shuffle(rest)
    return ", ".join([*first, *rest])


def _parted(caption: str, kept: int) -> tuple[list[str], list[str]]:
    """The tags of a caption that stay in front, and the others."""
    tags = [tag.strip() for tag in caption.split(",")]
    named = [tag for tag in tags if "{}" in tag]
    others = [tag for tag in tags if "{}" not in tag]
    count = max(0, kept - len(named))
    return [*named, *others[:count]], others[count:]


def tags_told(templates: Sequence[str], options: PictureOptions) -> str:
    """A line on captions that have nothing to shuffle, or on tags to keep where none are shuffled; "" for neither."""
    if not options.shuffle_tags:
        return "tags: none are shuffled, so how many are kept changes nothing" if "keep_tags" in options.stated else ""
    same = sum(len(set(_parted(template, options.keep_tags)[1])) < 2 for template in templates)
    return f"tags: {same} of {len(templates)} captions have none to shuffle" if same else ""


def counted(variations: Sequence[Sequence[Variation]]) -> str:
    """A line on how many examples the pictures make; "" if as many as pictures."""
    total = sum(len(own) for own in variations)
    return f"variations: {len(variations)} pictures make {total} examples" if total != len(variations) else ""
