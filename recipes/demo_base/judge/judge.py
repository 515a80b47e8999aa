"""Classifies a picture by its pixels and by its nearest neighbours among real compositions."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from recipes.demo_base.world import Scene
from triptych.metrics.world import World as Facts
from triptych.metrics.world import cut_out, mask, place

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from torch import Tensor

    from recipes.demo_base.compose import Composer, Pixels
    from triptych.metrics.encoders import ImageEncoder

REFERENCES = (("gray", "medium"), ("white", "medium"), ("black", "medium"), ("gray", "small"), ("gray", "large"))
"""Background and size of the real compositions, one of each per drawing, that pictures are compared with."""

CRITERIA = ("background", "place", "size", "subject", "style")


@dataclass(frozen=True)
class Reading:
    """The judge's classification of a picture; None for what it cannot name."""

    background: str | None
    place: str | None
    size: str | None
    subject: str
    style: str


Shared = dict[str, list[tuple[str, str]]]
"""By subject: pairs of styles that draw it nearly the same."""


@dataclass(frozen=True)
class Judge:
    """Classifies pictures. features: float32 [references, d], rows of length 1, in the order of `scenes`.

    shared: drawings that are as similar to each other as a drawing is to its own reconstruction by the autoencoder.
    They count as one style, since they cannot be distinguished after decoding.
    """

    facts: Facts
    encoder: ImageEncoder
    scenes: tuple[Scene, ...]
    features: Tensor
    shared: Shared

    @classmethod
    def open(
        cls,
        composer: Composer,
        facts: Facts,
        encoder: ImageEncoder,
        through: Callable[[list[Pixels]], list[Pixels]],
    ) -> Judge:
        """Compose and encode the references; `through` sends pictures through the base's autoencoder."""
        rng = np.random.default_rng(11)
        world = composer.world
        named = [
            Scene(subject, style, background, size=size)
            for subject in world.subjects
            for style in world.styles
            for background, size in REFERENCES
        ]
        scenes = tuple(scene for scene in named if composer.drawing(scene) is not None)
        pictures = [composer.picture(scene, rng) for scene in scenes]
        features = _see(encoder, pictures)
        plain = [i for i, scene in enumerate(scenes) if (scene.background, scene.size) == REFERENCES[0]]
        again = _see(encoder, through([pictures[i] for i in plain]))
        itself = float((features[plain] * again).sum(dim=1).mean())
        shared: Shared = {}
        for i, j in combinations(plain, 2):
            if scenes[i].subject == scenes[j].subject and float(features[i] @ features[j]) >= itself:
                shared.setdefault(scenes[i].subject, []).append((scenes[i].style, scenes[j].style))
        return cls(facts, encoder, scenes, features, shared)

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

    def marks(self, scenes: Sequence[Scene], readings: Sequence[Reading]) -> dict[str, list[bool]]:
        """By criterion: whether each reading agrees with what its scene says."""
        found = {
            criterion: [getattr(s, criterion) == getattr(r, criterion) for s, r in zip(scenes, readings, strict=True)]
            for criterion in CRITERIA
        }
        found["style"] = [
            good or (s.subject == r.subject and self._one_style(s.subject, s.style, r.style))
            for good, s, r in zip(found["style"], scenes, readings, strict=True)
        ]
        return found

    def _one_style(self, subject: str, style: str, other: str) -> bool:
        return any({style, other} == {*pair} for pair in self.shared.get(subject, ()))


def _see(encoder: ImageEncoder, pictures: Sequence[Pixels]) -> Tensor:
    return encoder.images([cut_out(Image.fromarray(picture)) for picture in pictures])
