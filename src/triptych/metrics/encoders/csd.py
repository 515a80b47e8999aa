"""CSD encodes the style of pictures."""

from __future__ import annotations

from math import isqrt
from pathlib import Path
from typing import TYPE_CHECKING

from torch import Tensor

from ...base.opening.names import FUSED, OPENCLIP_LAYER
from . import Encoder
from .shared import digest_of, filled, in_batches
from .weights import weights_at

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import torch
    from PIL import Image

HEAD = "last_layer_style"
NETWORK = "backbone."
HEAD_WIDTH = 64  # of an attention head, in every CLIP
ENDS = {  # in transformers' CLIPVisionModel -> in CLIP's own layout
    "embeddings.class_embedding": "class_embedding",
    "embeddings.patch_embedding.weight": "conv1.weight",
    "embeddings.position_embedding.weight": "positional_embedding",
    "pre_layrnorm.weight": "ln_pre.weight", "pre_layrnorm.bias": "ln_pre.bias",
    "post_layernorm.weight": "ln_post.weight", "post_layernorm.bias": "ln_post.bias",
}  # fmt: skip


class CsdEncoder(Encoder):
    """CSD, contrastive style descriptors (arXiv:2404.01292): a CLIP ViT-L/14 and a linear head for styles.

    The head takes the class token after the last norm. It opens from the published file of weights, or from a folder or
    hub id with it. There the names of CLIP's own layout stand below `backbone.`, and `last_layer_style` is the head
    [width, d]. The weights are under CC BY 4.0.
    """

    known_as = "csd"
    tensors = (HEAD,)

    def __init__(self, path: str, device: str | torch.device = "cpu") -> None:
        from transformers import CLIPImageProcessorPil

        file = weights_at(path)
        if file is None:
            raise ValueError("it has no file of weights")
        before = next(name for name in file.layouts if name.endswith(HEAD)).removesuffix(HEAD)
        wanted = [name for name in file.layouts if name.startswith(before)]
        tensors = {name.removeprefix(before): tensor.float() for name, tensor in file.tensors(wanted).items()}
        network, side = _network(tensors)
        self._model = network.to(device)
        self._head = tensors[HEAD].to(device)
        self._prepare = CLIPImageProcessorPil(size={"shortest_edge": side}, crop_size=side)
        self._device = device
        self.name = Path(path).stem if Path(path).is_file() else Path(path).name
        self.digest = digest_of(self._model, f"csd {self._prepare} {self._head.flatten()[:64].tolist()}")

    @classmethod
    def open(cls, path: str, device: str | torch.device) -> CsdEncoder:
        return cls(path, device)

    def images(self, pictures: Sequence[Image.Image]) -> Tensor:
        return in_batches(pictures, self._encode_pictures)

    def _encode_pictures(self, pictures: Sequence[Image.Image]) -> Tensor:
        pixels = self._prepare(list(pictures), return_tensors="pt")["pixel_values"]
        pooled: Tensor = self._model(pixel_values=pixels.to(self._device)).pooler_output
        return pooled @ self._head


def _network(tensors: Mapping[str, Tensor]) -> tuple[torch.nn.Module, int]:
    """The vision model, whose sizes follow from the shapes of its tensors, and the side of its pictures in pixels."""
    from transformers import CLIPVisionConfig, CLIPVisionModel

    own = {name.removeprefix(NETWORK): tensor for name, tensor in tensors.items() if name.startswith(NETWORK)}
    width, _, _, patch = own["conv1.weight"].shape
    layers = {name.split(".")[2] for name in own if name.startswith("transformer.resblocks.")}
    config = CLIPVisionConfig(
        hidden_size=width, intermediate_size=own["transformer.resblocks.0.mlp.c_fc.bias"].shape[0],
        num_hidden_layers=len(layers), num_attention_heads=max(1, width // HEAD_WIDTH), patch_size=patch,
        image_size=isqrt(own["positional_embedding"].shape[0] - 1) * patch, hidden_act="quick_gelu",
    )  # fmt: skip
    network = CLIPVisionModel(config)
    nested = "vision_model."  # what older versions of transformers write before the names
    names = {name: name.removeprefix(nested) for name in network.state_dict()}
    return filled(network, {name: _original(plain, own) for name, plain in names.items()}), config.image_size


def _original(name: str, own: Mapping[str, Tensor]) -> Tensor:
    """The tensor of a parameter of transformers' model. CLIP keeps queries, keys and values in one.

    Raises:
        KeyError: it is not there.
    """
    if name in ENDS:
        return own[ENDS[name]]
    _, _, layer, rest = name.split(".", 3)
    leaf, _, kind = rest.rpartition(".")
    original = f"transformer.resblocks.{layer}.{OPENCLIP_LAYER[leaf]}"
    if leaf in FUSED:
        return own[f"{original}_{kind}"].chunk(3)[FUSED.index(leaf)]
    return own[f"{original}.{kind}"]
