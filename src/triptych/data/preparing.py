"""Prepares the chosen pictures of a concept: read, framed, varied, with their masks, and encoded."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from torch import Tensor

from ..base import Base, Framing
from ..options import PictureOptions
from .framing import Framed, bucketed, square, step_of, told
from .kept_latents import latents_of
from .masks import mask_of, weights_of
from .pictures import read_picture
from .variants import Variation, counted, varied

if TYPE_CHECKING:
    from PIL.Image import Image

    from .concept import Concept, Picture


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
    own = [concept.pictures[i] for i in chosen]
    templates = concept.templates(base.description.captions[concept.kind])
    variations = [varied(concept.pictures[i].digest, templates[i], options, seed) for i in chosen]
    shown, whole = [], []
    for picture, ways in zip(own, variations, strict=True):
        pixels = read_picture(picture.path)
        framed = [_framed(base, way.coloured(way.framed(pixels)), options) for way in ways]
        whole.append(framed[0])
        shown += [(picture, way, frame) for way, frame in zip(ways, framed, strict=True)]
    latents = latents_of(base, [frame.picture for *_, frame in shown], alone=bool(options.stated))
    examples = [
        Prepared(latent, way.caption, frame.picture, picture.name, frame.framing, _weights(base, picture, way, options))
        for (picture, way, frame), latent in zip(shown, latents, strict=True)
    ]
    lines = [*told([picture.name for picture in own], whole, base.resolution), counted(variations)]
    if options.masks:
        weighed = len({example.name for example in examples if example.weights is not None})
        lines.append(f"masks: the loss of {weighed} of {len(own)} pictures is weighed by theirs")
    repeats = {picture.name: picture.repeats for picture in own}
    return [example for example in examples for _ in range(repeats[example.name])], [line for line in lines if line]


def _framed(base: Base, picture: Image, options: PictureOptions) -> Framed:
    if options.framing == "bucket":
        return bucketed(picture, base.resolution, step_of(base))
    return square(picture, base.resolution)


def _weights(base: Base, picture: Picture, way: Variation, options: PictureOptions) -> Tensor | None:
    """The weights of a picture's mask, framed and varied as the picture."""
    mask = mask_of(picture.path) if options.masks else None
    if mask is None:
        return None
    with_size = mask.resize(read_picture(picture.path).size)
    framed = _framed(base, way.framed(with_size), options).picture
    return weights_of(framed, framed.size, base.pixels)
