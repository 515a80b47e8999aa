"""An image encoder that keeps what it has seen: a picture that is held against several concepts is encoded once."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256
from typing import TYPE_CHECKING

import torch

from ..metrics.encoders import ImageEncoder

if TYPE_CHECKING:
    from PIL import Image
    from torch import Tensor


class Seen:
    """The encoder, with the features of all pictures that it encoded."""

    def __init__(self, encoder: ImageEncoder) -> None:
        self.encoder, self.name = encoder, encoder.name
        self._features: dict[tuple[tuple[int, int], bytes], Tensor] = {}

    @property
    def digest(self) -> str:
        return self.encoder.digest

    def images(self, pictures: Sequence[Image.Image]) -> Tensor:
        """Encode RGB pictures, as the encoder itself: float32 [pictures, d] on the CPU, rows of length 1."""
        keys = [(picture.size, sha256(picture.tobytes()).digest()) for picture in pictures]
        new = {key: picture for key, picture in zip(keys, pictures, strict=True) if key not in self._features}
        if new:
            self._features.update(zip(new, self.encoder.images(list(new.values())), strict=True))
        return torch.stack([self._features[key] for key in keys])
