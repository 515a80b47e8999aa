"""CLIP encodes pictures and texts."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from . import Encoder
from .shared import PicturesAndTexts, Preparation, stated

if TYPE_CHECKING:
    from collections.abc import Sequence

    from PIL import Image


class ClipEncoder(PicturesAndTexts, Encoder):
    """CLIP (arXiv:2103.00020) projects pictures and texts into one space. It opens from a folder or a hub id."""

    known_as = "clip"
    families = ("clip",)

    @classmethod
    def open(cls, path: str, device: str | torch.device = "cpu") -> ClipEncoder:
        from transformers import CLIPModel

        model = CLIPModel.from_pretrained(path)
        return cls(path, device, model, _preparation(path, model.config.vision_config.image_size))

    def _encode_pictures(self, pictures: Sequence[Image.Image]) -> Tensor:
        pixels = self._prepare(list(pictures), return_tensors="pt")["pixel_values"]
        pooled = self._model.vision_model(pixel_values=pixels.to(self._device)).pooler_output
        features: Tensor = self._model.visual_projection(pooled)
        return features

    def _encode_texts(self, texts: Sequence[str]) -> Tensor:
        # The end token is found here: with old configurations of CLIP, transformers takes the largest id for it.
        room = self._model.config.text_config.max_position_embeddings
        ids = self._tokenizer(
            list(texts), padding=True, truncation=True, max_length=room, return_tensors="pt"
        ).input_ids.to(self._device)
        hidden = self._model.text_model(input_ids=ids).last_hidden_state
        end = (ids == self._tokenizer.eos_token_id).int().argmax(dim=-1)  # the first: it may also be the padding
        features: Tensor = self._model.text_projection(hidden[torch.arange(len(ids)), end])
        return features


def _preparation(path: str, side: int) -> Preparation:
    """The image processor that the folder states, else the published one for pictures of this side."""
    from transformers import CLIPImageProcessorPil

    published = CLIPImageProcessorPil(size={"shortest_edge": side}, crop_size=side)
    return stated(CLIPImageProcessorPil, path) or published
