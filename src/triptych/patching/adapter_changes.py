"""How the adapters of a layer act in a call: LoRA on activations, its relatives by the change dW of the weight.

dW is computed when it is first needed, and again when a patch below changes the weight. While its tensors are trained,
it is computed in every call, so that gradients reach them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..base import Change, Owner
from .adapters import (
    BIASES,
    FIRST,
    Leaves,
    algorithm_of,
    change_of,
    check_low_rank,
    factors_of,
    misfit,
    scale_of,
    since,
)
from .dropout import dropped
from .low_rank import low_rank
from .patch import Learned

CHANGEABLE = (nn.Linear, nn.Conv2d, nn.LayerNorm, nn.GroupNorm)
NOT_PLAIN = {"dora_scale", "lora_mid.weight", "diff_b"}  # leaves by which a LoRA is more than B A


def change_for(
    patch: Learned, path: str, layer: nn.Module, leaves: Leaves, alpha: float, owner: Owner, dropout: float = 0.0
) -> Change:
    """The change of a layer's output by its adapter.

    Args:
        alpha: for layers without their own.
        dropout: the share of the layer's input that the adapter does not see in a step of training.

    Raises:
        TriptychError: the tensors do not fit together, or the layer.
    """
    algorithm = algorithm_of(path, leaves)
    drop = partial(dropped, patch, path, dropout) if dropout else None
    if algorithm.name != "LoRA" or NOT_PLAIN & leaves.keys():
        whole = _Whole(path, layer, tuple(leaves), alpha)
        whole.check(leaves)
        add: Callable[..., Tensor] = whole
        return Change(owner, _after(drop, add), tuple(leaves.values()), lambda: patch.strength)
    check_low_rank(path, leaves, cast(Tensor, layer.weight))
    scale = scale_of(algorithm, leaves, alpha)
    pair = tuple(leaves[leaf] for leaf in ("lora_A.weight", "lora_B.weight", *FIRST) if leaf in leaves)
    kind = None
    if isinstance(layer, nn.Conv2d):
        add = partial(_low_rank_convolution, layer)
    elif all(tensor.dim() == 2 for tensor in pair):
        add, kind = low_rank, None if drop else "lora"
    else:
        add = _flat_low_rank
    if len(pair) > 2:
        add = partial(_since_start, add)
    return Change(owner, _after(drop, add), pair, lambda: patch.strength * scale, kind=kind)


def _after(drop: Callable[[Tensor], Tensor] | None, add: Callable[..., Tensor]) -> Callable[..., Tensor]:
    return add if drop is None else lambda x, *tensors: add(drop(x), *tensors)


def _since_start(add: Callable[..., Tensor], x: Tensor, *tensors: Tensor) -> Tensor:
    return add(x, *since(*tensors))


def _flat_low_rank(x: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """As `low_rank`, for tools that store a linear layer's A as a convolution's, [rank, in, 1, 1]."""
    return low_rank(x, a.flatten(1), b.flatten(1))


def _low_rank_convolution(layer: nn.Conv2d, x: Tensor, a: Tensor, b: Tensor) -> Tensor:
    return F.conv2d(_convolved(layer, x, a), b.reshape(*b.shape[:2], 1, 1).to(x.dtype))


@dataclass
class _Whole:
    """The change of a layer's output by dW, from its input and its tensors, which are called `names`."""

    path: str
    layer: nn.Module
    names: tuple[str, ...]
    alpha: float
    made_of: Tensor | None = None  # the weight, kept so that its address is not reused
    factors: Leaves = field(init=False)  # of that weight
    change: Tensor = field(init=False)
    stale: bool = False  # whether the tensors were trained since `change` was computed

    def check(self, leaves: Mapping[str, Tensor]) -> None:
        """
        Raises:
            TriptychError: the tensors do not fit the layer.
        """
        weight = self.weight
        self._factorise(leaves)
        self.change = change_of(self.path, leaves, weight, self.alpha, self.factors)
        bias = next((leaf for leaf in BIASES if leaf in leaves), None)
        if bias is not None and leaves[bias].shape != weight.shape[:1]:
            raise misfit(self.path, bias, leaves, weight)

    @property
    def weight(self) -> Tensor:
        return cast(Tensor, self.layer.weight)

    def __call__(self, x: Tensor, *tensors: Tensor) -> Tensor:
        leaves = dict(zip(self.names, tensors, strict=True))
        bias = next((leaves[leaf].to(x.dtype) for leaf in BIASES if leaf in leaves), None)
        return _applied(self.layer, x, self._changed(leaves).to(x.dtype), bias)

    def _changed(self, leaves: Leaves) -> Tensor:
        trained = any(tensor.requires_grad for tensor in leaves.values())
        moved = self.made_of is None or self.made_of.data_ptr() != self.weight.data_ptr()
        if moved:
            self._factorise(leaves)
        if trained:
            self.stale = True
            return change_of(self.path, leaves, self.weight, self.alpha, self.factors)
        if moved or self.stale:
            with torch.inference_mode(False), torch.no_grad():
                self.change = change_of(self.path, leaves, self.weight, self.alpha, self.factors)
            self.stale = False
        return self.change

    def _factorise(self, leaves: Leaves) -> None:
        with torch.inference_mode(False), torch.no_grad():
            self.made_of, self.factors = self.weight.detach(), factors_of(self.path, leaves, self.weight)


def _applied(layer: nn.Module, x: Tensor, change: Tensor, bias: Tensor | None) -> Tensor:
    """What the layer would give with the weight `change`."""
    if isinstance(layer, nn.LayerNorm):
        return F.layer_norm(x, layer.normalized_shape, change, bias, layer.eps)
    if isinstance(layer, nn.GroupNorm):
        return F.group_norm(x, layer.num_groups, change, bias, layer.eps)
    if isinstance(layer, nn.Conv2d):
        return _convolved(layer, x, change, bias)
    return F.linear(x, change, bias)


def _convolved(layer: nn.Conv2d, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    shaped = weight.reshape(len(weight), *layer.weight.shape[1:]).to(x.dtype)
    return F.conv2d(x, shaped, bias, layer.stride, layer.padding, layer.dilation, layer.groups)
