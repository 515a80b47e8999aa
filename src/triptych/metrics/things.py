"""Which thing a drawing shows: the one whose known drawings are most like it."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from .world import Specimen, cut_out, silhouette

if TYPE_CHECKING:
    from collections.abc import Sequence

    from PIL import Image

    from . import Features
    from .encoders import ImageEncoder


class Things:
    """Known drawings, and an image encoder that compares them with pictures.

    Likeness is half what the encoder sees and half the silhouette: a style changes strokes, colours and textures, by
    which networks of photographs mostly go (arXiv:1811.12231), and keeps the shape.
    """

    def __init__(self, known: Sequence[Specimen], encoder: ImageEncoder) -> None:
        self._known, self._encoder = known, encoder
        self.names = sorted({specimen.subject for specimen in known})

    def shown(self, pictures: Sequence[Image.Image]) -> list[str]:
        """The thing that each picture shows, one of `names`."""
        distances = [self.distances(seen) for seen in self.see(pictures)]
        return [min(own, key=lambda name: own[name]) for own in distances]

    def see(self, pictures: Sequence[Image.Image], features: Features | None = None) -> Features:
        """[pictures, d + 256], rows of length 1: what the encoder sees of the drawings, cut out, and their shapes.

        Args:
            features: what the encoder sees of them, if that is known already [pictures, d].
        """
        if features is None:
            features = self._encoder.images([cut_out(picture) for picture in pictures]).numpy()
        shapes = np.stack([silhouette(picture) for picture in pictures]) - self._usual
        shapes /= np.maximum(np.linalg.norm(shapes, axis=1, keepdims=True), 1e-9)
        return np.asarray(np.hstack([features, shapes]) / np.sqrt(2), np.float32)

    def distances(self, seen: np.ndarray, itself: int | None = None) -> dict[str, float]:
        """Thing -> how unlike its most similar known drawing is to a picture, from that picture's row of `see`.

        Args:
            itself: the known drawing that is this very picture, by which it is not recognised.
        """
        likeness = self._seen @ seen
        if itself is not None:
            likeness[itself] = -1.0
        return {
            name: -max(float(likeness[i]) for i, known in enumerate(self._known) if known.subject == name)
            for name in self.names
        }

    @cached_property
    def _seen(self) -> Features:
        return self.see([specimen.picture for specimen in self._known])

    @cached_property
    def _usual(self) -> np.ndarray:
        """[256]: the mean silhouette of what is known."""
        return np.asarray(np.mean([silhouette(specimen.picture) for specimen in self._known], axis=0), np.float64)
