"""DINOv2 encodes pictures."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from . import Encoder
from .shared import Preparation, digest_of, in_batches, stated

if TYPE_CHECKING:
    from collections.abc import Sequence


class DinoEncoder(Encoder):
    """DINOv2 (arXiv:2304.07193): the class token after the final norm, and the patches' tokens.

    It opens from a folder or a hub id.
    """

    known_as = "dinov2"
    families = ("dinov2", "dinov2_with_registers")

    def __init__(self, path: str, device: str | torch.device = "cpu") -> None:
        from transformers import AutoModel

        self._model = AutoModel.from_pretrained(path).eval().requires_grad_(False).to(device)
        self._prepare = _preparation(path)
        self._device = device
        self.name = Path(path).name
        self.digest = digest_of(self._model, str(self._prepare))

    @classmethod
    def open(cls, path: str, device: str | torch.device) -> DinoEncoder:
        return cls(path, device)

    def images(self, pictures: Sequence[Image.Image]) -> Tensor:
        return in_batches(pictures, self._encode_pictures)

    def patches(self, pictures: Sequence[Image.Image]) -> Tensor:
        return in_batches(pictures, lambda batch: self._hidden(batch)[:, self._before :])

    def shares(self, masks: Sequence[Image.Image]) -> Tensor:
        side = self._model.config.patch_size
        black, white, *pixels = self._pixels([Image.new("L", (64, 64)), Image.new("L", (64, 64), 255), *masks])
        shares = (torch.stack(pixels) - black) / (white - black)  # as pictures are prepared, and back to 0..1
        return F.avg_pool2d(shares[:, :1], side).flatten(1)

    @property
    def _before(self) -> int:
        """How many tokens stand before those of the patches: the class token, and registers if there are any."""
        return 1 + int(getattr(self._model.config, "num_register_tokens", 0))

    def _pixels(self, pictures: Sequence[Image.Image]) -> Tensor:
        rgb = [picture.convert("RGB") for picture in pictures]
        return self._prepare(rgb, return_tensors="pt")["pixel_values"]

    def _hidden(self, pictures: Sequence[Image.Image]) -> Tensor:
        hidden: Tensor = self._model(pixel_values=self._pixels(pictures).to(self._device)).last_hidden_state
        return hidden

    def _encode_pictures(self, pictures: Sequence[Image.Image]) -> Tensor:
        return self._hidden(pictures)[:, 0]


def _preparation(path: str) -> Preparation:
    """The image processor that the folder states, else the published one: shorter side 256, centre crop 224."""
    from transformers import BitImageProcessorPil

    published = BitImageProcessorPil(
        size={"shortest_edge": 256}, crop_size=224, image_mean=[0.485, 0.456, 0.406], image_std=[0.229, 0.224, 0.225]
    )
    return stated(BitImageProcessorPil, path) or published
