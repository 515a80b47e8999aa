"""What a picture shows, by its pixels and by its nearest neighbours among real compositions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from recipes.demo_base.world import Scene
from triptych.metrics.world import World as Facts
from triptych.metrics.world import cut_out, mask, place

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from recipes.demo_base.compose import Composer
    from triptych.metrics.encoders import ImageEncoder

REFERENCES = (("gray", "medium"), ("white", "medium"), ("black", "medium"), ("gray", "small"), ("gray", "large"))
"""Background and size of the real compositions, one of each per drawing, that pictures are compared with."""

CRITERIA = ("background", "place", "size", "subject", "style")


@dataclass(frozen=True)
class Reading:
    """What the judge sees; None where it sees nothing that has a name."""

    background: str | None
    place: str | None
    size: str | None
    subject: str
    style: str


@dataclass(frozen=True)
class Eye:
    """Reads pictures. features: float32 [references, d], rows of length 1, of `scenes`, the same order."""

    facts: Facts
    encoder: ImageEncoder
    scenes: tuple[Scene, ...]
    features: Tensor

    @classmethod
    def open(cls, composer: Composer, facts: Facts, encoder: ImageEncoder) -> Eye:
        """Compose and encode the references."""
        rng = np.random.default_rng(11)
        world = composer.world
        named = [
            Scene(subject, style, background, size=size)
            for subject in world.subjects
            for style in world.styles
            for background, size in REFERENCES
        ]
        scenes = tuple(scene for scene in named if composer.drawing(scene) is not None)
        pictures = [cut_out(Image.fromarray(composer.picture(scene, rng))) for scene in scenes]
        return cls(facts, encoder, scenes, encoder.images(pictures))

    def read(self, pictures: Sequence[Image.Image]) -> list[Reading]:
        """Read each picture."""
        likeness = self.encoder.images([cut_out(picture) for picture in pictures]) @ self.features.T
        nearest = [self.scenes[i] for i in likeness.argmax(dim=1).tolist()]
        return [self._reading(picture, scene) for picture, scene in zip(pictures, nearest, strict=True)]

    def _reading(self, picture: Image.Image, nearest: Scene) -> Reading:
        pixels = np.asarray(picture.convert("RGB"))
        drawn = mask(pixels)
        return Reading(
            background=self.facts.background(pixels),
            place=place(drawn),
            size=self.facts.size(drawn),
            subject=nearest.subject,
            style=nearest.style,
        )


def marks(scenes: Sequence[Scene], readings: Sequence[Reading]) -> dict[str, list[bool]]:
    """By criterion: whether each reading agrees with what its scene says."""
    return {
        criterion: [getattr(s, criterion) == getattr(r, criterion) for s, r in zip(scenes, readings, strict=True)]
        for criterion in CRITERIA
    }
