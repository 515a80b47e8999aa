"""Helpers of several encoders: batches, digests, weights, and the image processor that a folder states."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import torch
from torch import Tensor
from torch.nn import functional as F

if TYPE_CHECKING:
    from PIL import Image

BATCH = 16

T = TypeVar("T")


class Preparation(Protocol):
    """An image processor of transformers that needs PIL alone."""

    def __call__(self, images: list[Image.Image], *, return_tensors: str) -> Mapping[str, Tensor]: ...


class PicturesAndTexts:
    """An encoder of pictures and texts by a model of transformers. A subclass encodes a batch of each."""

    def __init__(self, path: str, device: str | torch.device, model: Any, prepare: Preparation) -> None:
        from transformers import AutoTokenizer

        self._model = model.eval().requires_grad_(False).to(device)
        self._tokenizer = AutoTokenizer.from_pretrained(path)
        self._prepare, self._device = prepare, device
        self.name = Path(path).name
        vocabulary = sorted(self._tokenizer.get_vocab().items())  # its own order differs between openings
        self.digest = digest_of(self._model, f"{self._prepare} {vocabulary}")

    def images(self, pictures: Sequence[Image.Image]) -> Tensor:
        return in_batches(pictures, self._encode_pictures)

    def texts(self, texts: Sequence[str]) -> Tensor:
        return in_batches(texts, self._encode_texts)

    def _encode_pictures(self, pictures: Sequence[Image.Image]) -> Tensor:
        raise NotImplementedError

    def _encode_texts(self, texts: Sequence[str]) -> Tensor:
        raise NotImplementedError


def stated(processor: Any, path: str) -> Preparation | None:
    """The image processor that the folder or hub id at `path` states; None if it states none."""
    try:
        found: Preparation = processor.from_pretrained(path)
    except OSError:
        return None
    return found


def filled(network: torch.nn.Module, tensors: Mapping[str, Tensor]) -> torch.nn.Module:
    """The network with these weights in full precision, frozen.

    Raises:
        ValueError: a tensor of the network is missing, or has another shape.
    """
    for name, own in network.state_dict().items():
        if name not in tensors:
            raise ValueError(f"it has no tensor {name}")
        if tensors[name].shape != own.shape:
            raise ValueError(f"its tensor {name} is {tuple(tensors[name].shape)}, and should be {tuple(own.shape)}")
    network.load_state_dict({name: tensors[name].float() for name in network.state_dict()})
    return network.eval().requires_grad_(False)


@torch.inference_mode()
def in_batches(items: Sequence[T], encode: Callable[[Sequence[T]], Tensor]) -> Tensor:
    """Encode items in batches: float32 [items, d] on the CPU, rows of length 1."""
    parts = [encode(items[start : start + BATCH]).float().cpu() for start in range(0, len(items), BATCH)]
    return F.normalize(torch.cat(parts), dim=-1)


def digest_of(network: torch.nn.Module, how: str) -> str:
    """16 hexadecimal digits that depend on the weights (a few of every tensor) and on `how` pictures are prepared."""
    digest = sha256(how.encode())
    for name, tensor in network.state_dict().items():
        some = tensor.flatten()[:16].float().cpu().numpy()
        digest.update(f"{name} {tuple(tensor.shape)}".encode() + some.tobytes())
    return digest.hexdigest()[:16]
