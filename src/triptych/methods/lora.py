"""LoRA adds a low-rank change to the attention layers of the denoiser (arXiv:2106.09685).

A hook adds strength (alpha / rank) B A x to the layer's output W x (equation 3). Each layer has two plain tensors.
peft's layers are not used: they would be modules to remove again, and their forward pass cannot train on some rows
only. The tensor names and the metadata are those of peft and diffusers, so diffusers loads the file.

Training is for LoRA alone. Its relatives can be attached too, to any layer of the denoiser and the text encoders; the
tensors determine which layers change, and how (`adapters.py`).

Dimensions: [rank, in] for A, [out, rank] for B, [..., in] for the layer's input x; convolutions have kernel dimensions.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import ClassVar, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..base import Base, Change, Owner, generator
from ..errors import OtherBaseError
from ..families import by_context_width
from ..patching.adapters import BIASES, Leaves, algorithm_of, by_layer, change_of, check_low_rank, misfit, scale_of
from ..patching.low_rank import low_rank
from ..patching.patch import Learned, Tensors
from ..settings import setting
from ..units import counted, listed
from . import Depth, Method, Training

CHANGEABLE = (nn.Linear, nn.Conv2d, nn.LayerNorm, nn.GroupNorm)


@dataclass(frozen=True)
class Settings(Training):
    lr: float = setting(1e-4, "learning rate of AdamW", least=0)
    rank: int = setting(8, "rank of each layer's change", least=1)
    alpha: float = setting(8.0, "the change is scaled by alpha / rank", least=0)
    targets: str = setting("attention", "which layers change", choices=("attention", "attention+mlp"))
    identifier: str = setting("", "a rare word before the class word, such as 'sks'")


class Lora(Method[Settings]):
    name: ClassVar[str] = "lora"
    title = "LoRA"
    settings_class = Settings
    opens_at = Depth.LAYERS
    exports_as = ("kohya-lora",)

    def phrase(self, settings: Settings, class_word: str) -> str:
        return f"{settings.identifier} {class_word}".strip()

    def start(self, base: Base, settings: Settings, seed: int) -> Tensors:
        """A is uniform in +-1 / sqrt(in), like the weight of a linear layer; B is zero."""
        random, dtype = generator("start", seed), torch.get_default_dtype()
        return {
            name: torch.zeros(shape) if "lora_B" in name
            else (2 * torch.rand(shape, generator=random, dtype=dtype) - 1) / shape[1] ** 0.5
            for name, shape in _shapes(base, settings).items()
        }  # fmt: skip

    def metadata(self, settings: Settings, tensors: Tensors) -> dict[str, str]:
        """peft's configuration of each component. Path endings are enough for peft."""
        layers: dict[str, list[str]] = {}
        for path in by_layer(tensors):
            component, _, inner = path.partition(".")
            layers.setdefault(component, []).append(inner.removeprefix("text_model."))
        adapter: dict[str, object] = {}
        for component, inside in layers.items():
            config = {"r": settings.rank, "lora_alpha": settings.alpha, "target_modules": sorted(inside)}
            adapter |= {f"{component}.{name}": value for name, value in config.items()}
        return {"lora_adapter_metadata": json.dumps(adapter)}

    def not_used(self, base: Base, tensors: Tensors) -> list[str]:
        """Layers that the base lacks are skipped, as long as all layers of its denoiser's attention are there."""
        lacking = _lacking(base, tensors, _changeable(base))
        return [f"skipped {counted(len(lacking), 'layer')} that this base lacks ({listed(lacking)})"] if lacking else []

    @contextmanager
    def patch(
        self, base: Base, settings: Settings, tensors: Tensors, strength: float = 1.0, owner: Owner = None
    ) -> Iterator[Learned]:
        patch, layers = Learned(tensors, strength, base.device), _changeable(base)
        with ExitStack() as undo:
            try:
                lacking = _lacking(base, tensors, layers)
                for path, leaves in by_layer(patch.learned).items():
                    if path in lacking:
                        continue
                    layer = layers[path]
                    change = _change(patch, path, layer, leaves, settings.alpha, owner)
                    undo.enter_context(base.changes.on(layer, "gives", change))
            except OtherBaseError as error:
                raise OtherBaseError(f"{error.detail}{_made_for(base, tensors)}") from error
            yield patch


def _change(patch: Learned, path: str, layer: nn.Module, leaves: Leaves, alpha: float, owner: Owner) -> Change:
    algorithm = algorithm_of(path, leaves)
    if algorithm.name != "LoRA" or {"dora_scale", "lora_mid.weight", "diff_b"} & leaves.keys():
        return Change(owner, _whole(path, layer, leaves, alpha), (), lambda: patch.strength)
    check_low_rank(path, leaves, cast(Tensor, layer.weight))
    scale = scale_of(algorithm, leaves, alpha)
    pair = leaves["lora_A.weight"], leaves["lora_B.weight"]
    if isinstance(layer, nn.Conv2d):
        return Change(owner, partial(_low_rank_convolution, layer), pair, lambda: patch.strength * scale)
    if all(tensor.dim() == 2 for tensor in pair):
        return Change(owner, low_rank, pair, lambda: patch.strength * scale, kind="lora")
    return Change(owner, _flat_low_rank, pair, lambda: patch.strength * scale)


def _flat_low_rank(x: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """As `low_rank`, for tools that store a linear layer's A as a convolution's, [rank, in, 1, 1]."""
    return low_rank(x, a.flatten(1), b.flatten(1))


def _low_rank_convolution(layer: nn.Conv2d, x: Tensor, a: Tensor, b: Tensor) -> Tensor:
    return F.conv2d(_convolved(layer, x, a), b.reshape(*b.shape[:2], 1, 1).to(x.dtype))


def _whole(path: str, layer: nn.Module, leaves: Leaves, alpha: float) -> Callable[[Tensor], Tensor]:
    """The change of the output, by dW. dW is computed when the patch opens, and again when a patch below changes W."""
    weight = cast(Tensor, layer.weight)
    made_of, change = weight.detach(), change_of(path, leaves, weight, alpha)  # kept, so that its address is not reused
    bias = next((leaf for leaf in BIASES if leaf in leaves), None)
    if bias is not None and leaves[bias].shape != weight.shape[:1]:
        raise misfit(path, bias, leaves, weight)

    def cast_to(x: Tensor) -> tuple[Tensor, Tensor | None]:
        nonlocal made_of, change
        if made_of.data_ptr() != weight.data_ptr():
            with torch.inference_mode(False):
                made_of, change = weight.detach(), change_of(path, leaves, weight, alpha)
        return change.to(x.dtype), None if bias is None else leaves[bias].to(x.dtype)

    if isinstance(layer, nn.LayerNorm):
        return lambda x: F.layer_norm(x, layer.normalized_shape, *cast_to(x), layer.eps)
    if isinstance(layer, nn.GroupNorm):
        return lambda x: F.group_norm(x, layer.num_groups, *cast_to(x), layer.eps)
    if isinstance(layer, nn.Conv2d):
        return lambda x: _convolved(layer, x, *cast_to(x))
    return lambda x: F.linear(x, *cast_to(x))


def _convolved(layer: nn.Conv2d, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    shaped = weight.reshape(len(weight), *layer.weight.shape[1:]).to(x.dtype)
    return F.conv2d(x, shaped, bias, layer.stride, layer.padding, layer.dilation, layer.groups)


def _changeable(base: Base) -> dict[str, nn.Module]:
    """The base's layers that adapters can change, by names such as `text_encoder.text_model...`.

    Text encoders have the names of files, with the `text_model` that transformers 5 removed from some.
    """
    found: dict[str, nn.Module] = {}
    for part, module in base.modules().items():
        root = f"{part}.text_model" if part.startswith("text") and not hasattr(module, "text_model") else part
        found |= {f"{root}.{path}": layer for path, layer in module.named_modules() if isinstance(layer, CHANGEABLE)}
    return found


def _lacking(base: Base, tensors: Tensors, layers: Mapping[str, nn.Module]) -> list[str]:
    """The layers of a file that a base has not.

    Raises:
        OtherBaseError: they are all of the file's layers, or one of the denoiser's attention.
    """
    paths = list(by_layer(tensors))
    lacking = [path for path in paths if path not in layers]
    needed = [path for path in lacking if path.startswith(f"{base.denoiser.name}.") and ".attn" in path]
    if len(lacking) == len(paths):
        needed += lacking
    if needed:
        raise OtherBaseError(f"this one has no layer {needed[0]} to change")
    return lacking


def _made_for(base: Base, tensors: Tensors) -> str:
    """The family that the file was made for, if the text width of its layers shows it, as a clause."""
    own = base.denoiser.context_width
    widths = {t.shape[1] for name, t in tensors.items() if name.endswith("attn2.to_k.lora_A.weight")} - {own}
    made, this = next(filter(None, map(by_context_width, widths)), None), by_context_width(own)
    named = this.title if this else f"one that reads text of width {own}"
    return f" (it is for {made.title}, and this base is {named})" if made else ""


def _layers(base: Base, settings: Settings) -> list[tuple[str, nn.Linear]]:
    ends = [end for group in settings.targets.split("+") for end in base.denoiser.layers[group]]
    return base.denoiser.chosen(tuple(ends))


def _shapes(base: Base, settings: Settings) -> dict[str, torch.Size]:
    shapes, component = {}, base.denoiser.name
    for path, layer in _layers(base, settings):
        shapes[f"{component}.{path}.lora_A.weight"] = torch.Size([settings.rank, layer.in_features])
        shapes[f"{component}.{path}.lora_B.weight"] = torch.Size([layer.out_features, settings.rank])
    return shapes
