"""Prepares the chosen pictures of a concept: read, framed, varied, with their masks, and encoded.

Threads read and frame pictures ahead of the encoder. The order, and so every result, is that of the pictures.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

from torch import Tensor

from ..base import Base, Framing
from ..options import PictureOptions
from .framing import Framed, acting, bucketed, square, step_of, told
from .kept_latents import latents_of
from .masks import mask_of, weights_of
from .pictures import read_picture
from .variants import Variation, counted, tags_told, varied

if TYPE_CHECKING:
    from PIL.Image import Image

    from .concept import Concept, Picture

WORKERS = min(4, os.cpu_count() or 1)  # threads that read pictures while others are encoded
Shown = tuple[list[Framed], list[Tensor | None]]  # a picture in its variations, and the weights of each


@dataclass(frozen=True)
class Prepared:
    """A training example before it has a place in a training; the attributes are those of `Example`."""

    latent: Tensor
    template: str
    picture: Image
    name: str
    framing: Framing | None
    weights: Tensor | None


def prepared(
    base: Base, concept: Concept, chosen: Sequence[int], options: PictureOptions, seed: int
) -> tuple[list[Prepared], list[str]]:
    """The examples of pictures by their indices, and lines on what is cut, enlarged, weighed and varied.

    A picture with repeats is there so many times; one with variations is there once for each.

    Raises:
        TriptychError: a picture or a mask cannot be used.
    """
    options = acting(options, [concept], base.resolution)
    own = [concept.pictures[i] for i in chosen]
    every = concept.templates(base.description.captions[concept.kind])
    templates = [every[i] for i in chosen]
    variations = [
        varied(picture.digest, template, options, seed) for picture, template in zip(own, templates, strict=True)
    ]
    shown: list[tuple[Picture, Variation, Framed, Tensor | None]] = []
    whole = []

    def frames(made: Iterable[Shown]) -> Iterator[Image]:
        """The pictures in their order, while the threads read on."""
        for (picture, ways), (framed, weights) in zip(zip(own, variations, strict=True), made, strict=True):
            whole.append(framed[0])
            shown.extend(zip([picture] * len(ways), ways, framed, weights, strict=True))
            yield from (frame.picture for frame in framed)

    with ThreadPoolExecutor(WORKERS) as threads:
        made = threads.map(lambda *each: _shown(base, options, *each), own, variations)
        latents = latents_of(base, frames(made), alone=bool(options.stated))
    examples = [
        Prepared(latent, way.caption, frame.picture, picture.name, frame.framing, weights)
        for (picture, way, frame, weights), latent in zip(shown, latents, strict=True)
    ]
    lines = [*told([picture.name for picture in own], whole, base.resolution), counted(variations)]
    lines.append(tags_told(templates, options))
    if options.masks:
        weighed = len({example.name for example in examples if example.weights is not None})
        lines.append(f"masks: the loss of {weighed} of {len(own)} pictures is weighed by theirs")
    repeats = {picture.name: picture.repeats for picture in own}
    return [example for example in examples for _ in range(repeats[example.name])], [line for line in lines if line]


def _shown(base: Base, options: PictureOptions, picture: Picture, ways: Sequence[Variation]) -> Shown:
    """A picture in all its variations, framed, and the weights of its mask."""
    pixels = read_picture(picture.path)
    mask = mask_of(picture.path) if options.masks else None
    mask = mask and mask.resize(pixels.size)
    framed = [_framed(base, way.coloured(way.framed(pixels)), options) for way in ways]
    return framed, [_weights(base, mask, way, options) for way in ways]


def _framed(base: Base, picture: Image, options: PictureOptions) -> Framed:
    if options.framing == "bucket":
        return bucketed(picture, base.resolution, step_of(base))
    return square(picture, base.resolution)


def _weights(base: Base, mask: Image | None, way: Variation, options: PictureOptions) -> Tensor | None:
    """The weights of a picture's mask, framed and varied as the picture. The mask has the picture's size."""
    if mask is None:
        return None
    framed = _framed(base, way.framed(mask), options).picture
    return weights_of(framed, framed.size, base.pixels)
