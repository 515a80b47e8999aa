"""What can be set of a picture besides its prompt, its seed, and the sampler with its steps and guidance."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from pathlib import Path

from ..base import Base, Framing
from ..base.tiling import is_large
from ..errors import TriptychError, did_you_mean, shown
from ..options import ControlOptions
from ..settings import setting
from .outpainting import Extension

NEEDED = {
    "variation_strength": ("variation_seed",),
    "only_masked": ("mask_padding",),
    "hires": ("hires_denoise", "hires_by", "hires_shrink"),
    "edit": ("edit_keep", "edit_layout"),
    "regions": ("region_alone",),
}  # a control -> others, which do nothing without it
LARGE, SMALL = 1.5, 0.65  # sides relative to the base's resolution, beyond which a picture is said to be unusual


@dataclass(frozen=True)
class Controls(ControlOptions):
    """The controls of pictures that are sampled alike. Sizes are in pixels, width before height.

    Raises:
        TriptychError: a value is out of range.
    """

    denoise: float = setting(0.75, "how much of a picture to begin with is sampled anew", least=0, most=1)

    regions: tuple[str, ...] = setting((), "AREA: PROMPT of parts of the picture")

    @classmethod
    def of(cls, options: ControlOptions, regions: Sequence[str] = ()) -> Controls:
        """
        Raises:
            TriptychError: a value is out of range.
        """
        return cls(**vars(options), regions=tuple(regions))

    def __post_init__(self) -> None:
        object.__setattr__(self, "regions", tuple(self.regions))  # a list, where it comes from a recipe
        for field in fields(self):
            choices, least, most = (field.metadata[name] for name in ("choices", "least", "most"))
            value = getattr(self, field.name)
            if most < math.inf and not least <= value <= most:
                raise TriptychError(f"{_words(field.name)} is a number from {least} to {most}, not {value}")
            if choices and value not in choices:
                raise TriptychError(f"there is no {_words(field.name)} {value!r}{did_you_mean(value, choices)}")
            if least is not None and value < least:
                raise TriptychError(f"{_words(field.name)} must be at least {least}, not {value}")
        for name in ("original_size", "seed_resize"):
            if getattr(self, name):
                size_of(getattr(self, name), _words(name))
        if self.crop:
            pair_of(self.crop, ",", "crop", "0,64")
        self.weighted_words  # noqa: B018  # raises where they are none
        self.extension  # noqa: B018  # the same
        for region in self.regions:
            region_of(region)
        if not self.edit and (self.edit_weights or self.edit_only):
            raise TriptychError("weights of words and words that may change belong to an edit, and there is none")
        if self.shrink and self.regions:
            raise TriptychError("regions see parts of the base's own size: leave them or shrink away")
        if self.edit and self.regions:
            raise TriptychError("regions do not go with an edit: leave one of them away")
        if self.freeu:
            self.freeu_scales  # noqa: B018  # raises where it is none

    @property
    def freeu_scales(self) -> tuple[float, ...]:
        """b1, b2, s1, s2 of FreeU (arXiv:2309.11497)."""
        try:
            scales = tuple(float(part) for part in self.freeu.split(","))
        except ValueError:
            scales = ()
        if len(scales) != 4 or not all(0 <= scale <= 10 for scale in scales):
            raise TriptychError(f"freeu is four numbers from 0 to 10, such as 1.5,1.6,0.9,0.2, not {shown(self.freeu)}")
        return scales

    @property
    def weighted_words(self) -> tuple[tuple[str, float], ...]:
        """The words of an edit with the factors on their attention."""
        found = []
        for text in filter(None, (part.strip() for part in self.edit_weights.split(","))):
            word, _, factor = text.rpartition(":")
            try:
                found.append((word.strip(), float(factor)))
            except ValueError:
                word = ""
            if not word:
                raise TriptychError(f"weights of words are given as red:2,cat:0.5, not {shown(self.edit_weights)!r}")
        return tuple(found)

    @property
    def tiled(self) -> bool | None:
        """Whether pictures are decoded in tiles; None: large ones are."""
        return None if self.vae_tiles == "auto" else self.vae_tiles == "always"

    @property
    def extension(self) -> Extension | None:
        """By how much a picture to begin with is extended."""
        return Extension.of(self.extend) if self.extend else None

    @property
    def edit_words(self) -> tuple[str, ...]:
        """The words where alone an edit may change the picture."""
        return tuple(word.strip() for word in self.edit_only.split(",") if word.strip())

    def changed(self, names: Iterable[str]) -> list[str]:
        """Those of the named controls that are not the default, in words."""
        defaults = {field.name: field.default for field in fields(self)}
        return [_words(name) for name in names if getattr(self, name) != defaults[name]]

    def size(self, base: Base) -> tuple[int, int]:
        """Width and height of the picture.

        Raises:
            TriptychError: a side is no multiple of what the base needs.
        """
        step = base.pixels * base.denoiser.multiple
        size = (self.width or base.resolution, self.height or base.resolution)
        for name, side in zip(("width", "height"), size, strict=True):
            if side % step:
                near = max(step, step * round(side / step))
                raise TriptychError(
                    f"the {name} of a picture is a multiple of {step} on this base, such as {near}, not {side}"
                )
        return size

    def latent_shape(self, base: Base) -> tuple[int, int, int]:
        """(channels, height, width) of the picture's latents."""
        width, height = self.size(base)
        return base.latent_shape[0], height // base.pixels, width // base.pixels

    def hires_shape(self, base: Base) -> tuple[int, int]:
        """(height, width) of the latents of the second pass: the nearest that the base can have."""
        return tuple(
            max(1, round(side * self.hires / base.denoiser.multiple)) * base.denoiser.multiple
            for side in self.latent_shape(base)[1:]
        )  # type: ignore[return-value]

    def larger(self, base: Base) -> float:
        """How many times longer than the base's own size the longer side of the picture is; at least 1."""
        return max(1.0, *(side / base.resolution for side in self.size(base)))

    def resized_shape(self, base: Base) -> tuple[int, int, int] | None:
        """(channels, height, width) of the noise that `seed_resize` asks for."""
        if not self.seed_resize:
            return None
        width, height = size_of(self.seed_resize, "seed resize")
        return base.latent_shape[0], max(height // base.pixels, 1), max(width // base.pixels, 1)

    def framing(self, base: Base) -> Framing | None:
        """What SDXL's denoiser is told of the picture's size and crop; None where it is whole."""
        if not self.original_size and not self.crop:
            return None
        width, height = size_of(self.original_size, "original size") if self.original_size else self.size(base)
        left, top = pair_of(self.crop, ",", "crop", "0,64") if self.crop else (0, 0)
        return Framing(height, width, top, left)

    def notes(self, base: Base) -> list[str]:
        """One sentence for each control that is not used, or that this base is not made for."""
        found = [
            f"{name} is not used without {_words(needed)}"
            for needed, names in NEEDED.items()
            if not getattr(self, needed)
            for name in self.changed(names)
        ]
        width, height = self.size(base)
        long, short = max(width, height), min(width, height)
        if long > LARGE * base.resolution or short < SMALL * base.resolution:
            found.append(
                f"{width} x {height} is far from the {base.resolution} x {base.resolution} that this base was made "
                "for: large pictures show things twice, small ones are coarse"
            )
        if not base.denoiser.has_levels:
            found += [
                f"{name} is not used: the denoiser of {base.family.title} has no coarse layers"
                for name in self.changed(("shrink", "hires_shrink"))
            ]
        elif self.shrink and self.larger(base) == 1:
            found.append(f"shrink is not used: {width} x {height} is not larger than the base's own size")
        pixels = math.prod(self.hires_shape(base)) * base.pixels**2 if self.hires else width * height
        if self.tiled is None and is_large(pixels):
            found.append("the pictures are decoded in tiles, since they are large: colours can differ a little")
        if (self.original_size or self.crop) and not base.family.pooled:
            found.append(f"original size and crop are not used: {base.family.title} does not read them")
        if self.clip_skip > 1 and not all(text.skips for text in base.texts):
            found.append(f"clip skip {self.clip_skip} is not used: {base.family.title} always reads the same layer")
        return found


def region_of(text: str) -> tuple[tuple[float, float, float, float] | Path, str]:
    """The area and the prompt of a region: "0,0,0.5,1: a dog", in shares of the sides; or "mask.png: a dog".

    Raises:
        TriptychError: it is of another form.
    """
    area, colon, prompt = text.partition(":")
    parts = area.split(",")
    if not colon or not prompt.strip():
        raise TriptychError(
            f"a region is given as LEFT,TOP,RIGHT,BOTTOM: PROMPT, or PICTURE: PROMPT, not {shown(text)!r}"
        )
    if len(parts) == 1:
        return Path(area.strip()), prompt.strip()
    try:
        left, top, right, bottom = (float(part) for part in parts)
    except ValueError:
        raise TriptychError(f"the area of a region is four numbers, such as 0,0,0.5,1, not {shown(area)!r}") from None
    if not (0 <= left < right <= 1 and 0 <= top < bottom <= 1):
        raise TriptychError(f"the area of a region is left,top,right,bottom in shares from 0 to 1, not {shown(area)!r}")
    return (left, top, right, bottom), prompt.strip()


def size_of(text: str, what: str) -> tuple[int, int]:
    """Width and height from "WxH".

    Raises:
        TriptychError: it is of another form.
    """
    return pair_of(text.lower(), "x", what, "512x768", least=1)


def pair_of(text: str, sign: str, what: str, example: str, least: int = 0) -> tuple[int, int]:
    """Two whole numbers.

    Raises:
        TriptychError: it is of another form.
    """
    parts = [part.strip() for part in text.split(sign)]
    if len(parts) != 2 or not all(part.isdecimal() and int(part) >= least for part in parts):
        raise TriptychError(f"{what} is given as {example}, not {shown(text)!r}")
    return int(parts[0]), int(parts[1])


def _words(name: str) -> str:
    return name.replace("_", " ")
