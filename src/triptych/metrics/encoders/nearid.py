"""NearID encodes what a thing is, whatever stands around it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from torch import Tensor

from . import Encoder
from .shared import digest_of, filled, in_batches, stated
from .weights import weights_at

if TYPE_CHECKING:
    from collections.abc import Sequence

    import torch
    from PIL import Image

NETWORK = "backbone."  # what its file writes before the names of SigLIP's vision model
NESTED = "vision_model."  # what older versions of transformers write before them


class NearIdEncoder(Encoder):
    """NearID (arXiv:2604.01973): SigLIP 2's vision model, its pooling trained to tell like things apart.

    Its training pictures show different things before the same background. It opens from a folder or a hub id. The code
    that the folder brings is not run: the network is that of transformers.
    """

    known_as = "nearid"
    families = ("nearid",)

    def __init__(self, path: str, device: str | torch.device = "cpu") -> None:
        from transformers import PreTrainedConfig, SiglipImageProcessorPil, SiglipVisionConfig, SiglipVisionModel

        stated_config = PreTrainedConfig.get_config_dict(path)[0]
        config = SiglipVisionConfig(**stated_config["vision_config"])
        file = weights_at(path)
        if file is None:
            raise ValueError("it has no file of weights")
        tensors = {_here(name): tensor for name, tensor in file.tensors().items()}
        network = SiglipVisionModel(config)
        nested = next(iter(network.state_dict())).startswith(NESTED)
        own = {f"{NESTED if nested else ''}{name}": tensor for name, tensor in tensors.items()}
        self._model = filled(network, own).to(device)
        size = {"height": config.image_size, "width": config.image_size}
        self._prepare = stated(SiglipImageProcessorPil, path) or SiglipImageProcessorPil(size=size)
        self._device = device
        self.name = Path(path).name
        self.digest = digest_of(self._model, f"nearid {self._prepare}")

    @classmethod
    def open(cls, path: str, device: str | torch.device) -> NearIdEncoder:
        return cls(path, device)

    def images(self, pictures: Sequence[Image.Image]) -> Tensor:
        return in_batches(pictures, self._encode_pictures)

    def _encode_pictures(self, pictures: Sequence[Image.Image]) -> Tensor:
        pixels = self._prepare(list(pictures), return_tensors="pt")["pixel_values"]
        features: Tensor = self._model(pixel_values=pixels.to(self._device)).pooler_output
        return features


def _here(name: str) -> str:
    return name.removeprefix(NETWORK).removeprefix(NESTED)
