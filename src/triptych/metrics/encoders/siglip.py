"""SigLIP and SigLIP 2 encode pictures and texts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from torch import Tensor

from . import Encoder
from .shared import PicturesAndTexts, stated

if TYPE_CHECKING:
    from collections.abc import Sequence

    import torch
    from PIL import Image


class SiglipEncoder(PicturesAndTexts, Encoder):
    """SigLIP (arXiv:2303.15343) and SigLIP 2 (arXiv:2502.14786) put pictures and texts into one space.

    A picture's features are the output of the attention pooling. Texts are lowercased and padded to the length that the
    model was trained with. SigLIP 2's models with a native aspect ratio are of type `siglip2`, its others of
    type `siglip`. It opens from a folder or a hub id.
    """

    known_as = "siglip"
    families = ("siglip", "siglip2")

    @classmethod
    def open(cls, path: str, device: str | torch.device = "cpu") -> SiglipEncoder:
        from transformers import AutoModel

        model = AutoModel.from_pretrained(path)
        return cls(path, device, model, _preparation(path, model.config))

    def _encode_pictures(self, pictures: Sequence[Image.Image]) -> Tensor:
        inputs = self._prepare(list(pictures), return_tensors="pt")
        features: Tensor = self._model.get_image_features(**self._moved(inputs)).pooler_output
        return features

    def _encode_texts(self, texts: Sequence[str]) -> Tensor:
        room = self._model.config.text_config.max_position_embeddings
        ids = self._tokenizer(
            [text.lower() for text in texts],
            padding="max_length",
            truncation=True,
            max_length=room,
            return_tensors="pt",
        ).input_ids
        features: Tensor = self._model.get_text_features(input_ids=ids.to(self._device)).pooler_output
        return features

    def _moved(self, inputs: Any) -> dict[str, Tensor]:
        return {name: tensor.to(self._device) for name, tensor in inputs.items()}


def _preparation(path: str, config: Any) -> Any:
    """The image processor that the folder states, else the published one: pictures are scaled to the model's size."""
    from transformers import Siglip2ImageProcessorPil, SiglipImageProcessorPil

    if config.model_type == "siglip2":
        vision = config.vision_config
        return stated(Siglip2ImageProcessorPil, path) or Siglip2ImageProcessorPil(
            patch_size=vision.patch_size, max_num_patches=vision.num_patches
        )
    side = config.vision_config.image_size
    return stated(SiglipImageProcessorPil, path) or SiglipImageProcessorPil(size={"height": side, "width": side})
