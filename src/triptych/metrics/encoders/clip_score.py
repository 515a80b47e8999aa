"""CLIPScore: how well a text fits a picture, from an encoder of both (arXiv:2104.08718)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import Tensor, tensor

from ..components import CLIP_WEIGHT

if TYPE_CHECKING:
    from collections.abc import Sequence

    from PIL import Image

    from . import TextImageEncoder


class ClipScore:
    """2.5 max(cosine, 0): 0 to 2.5, for most pictures below 1. A scorer of prompts."""

    def __init__(self, encoder: TextImageEncoder) -> None:
        self._encoder = encoder
        self.name = f"CLIPScore by {encoder.name}"
        self.digest = f"clip-score-{encoder.digest}"

    def scores(self, pictures: Sequence[Image.Image], texts: Sequence[str]) -> Tensor:
        """float32 [pictures] on the CPU: of each picture with the text of the same place."""
        different = list({id(picture): picture for picture in pictures}.values())
        places = {id(picture): place for place, picture in enumerate(different)}
        said = list(dict.fromkeys(texts))
        seen, read = self._encoder.images(different), self._encoder.texts(said)
        rows = tensor([places[id(picture)] for picture in pictures])
        columns = tensor([said.index(text) for text in texts])
        return CLIP_WEIGHT * (seen[rows] * read[columns]).sum(dim=1).clamp(min=0)
