"""Stores weights that no job trains in less memory: in bfloat16, in eight bits, or in files.

A layer has its weights, in the type in which the base was opened, only while it computes. Autograd keeps a note in
their place, by which they are made again in the backward pass.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn

from ..base import Base
from ..errors import TriptychError
from ..patching.aside import Aside, back

EIGHT = torch.float8_e4m3fn
GREATEST = 448.0  # of EIGHT
LAYERS = (nn.Linear, nn.Conv2d)  # which have nearly all weights, and are called as modules only
Load = Callable[[], Tensor]


def in_eight_bits(weight: Tensor) -> tuple[Tensor, Tensor]:
    """A weight [outputs, ...] as float8 (e4m3, arXiv:2209.05433), and the float32 scale of each output [outputs, 1...].

    A value comes back with an error of at most a sixteenth of it, or of a thousandth of its output's greatest weight.
    """
    values = weight.float()
    scale = values.abs().amax(dim=tuple(range(1, values.dim())), keepdim=True).clamp_min(1e-12) / GREATEST
    return (values / scale).to(EIGHT), scale


@dataclass
class _Weight:
    """A stored weight of a layer: how it is made, what it was, and what its parameter holds while it waits."""

    layer: nn.Module
    parameter: nn.Parameter
    load: Load
    origin: Tensor
    waiting: Tensor


@dataclass(frozen=True)
class _Again:
    """Stands for a weight that autograd would keep."""

    load: Load
    shape: torch.Size
    stride: tuple[int, ...]
    offset: int

    def made(self) -> Tensor:
        return self.load().as_strided(self.shape, self.stride, self.offset)


class _Stored:
    """The stored weights of some layers.

    Attributes:
        size: bytes that they take on the device.
    """

    def __init__(self, aside: Aside) -> None:
        self.aside, self.size = aside, 0
        self.weights: list[_Weight] = []
        self.hooks: list[Any] = []
        self.computing: dict[int, Load] = {}  # by the address of the weights of layers that compute now

    def take(self, layer: nn.Linear | nn.Conv2d, kind: str, in_file: bool) -> None:
        """Store the weight of a layer: "as-is", in "bf16" or in "fp8"; on the device or in a file."""
        parameter = cast(nn.Parameter, layer.weight)
        own, origin = parameter.data, self.aside.put(parameter.data)
        waiting = torch.full((1,), torch.nan, dtype=own.dtype, device=own.device).expand(own.shape)
        one = _Weight(layer, parameter, self._loading(own, origin, kind, in_file), origin, waiting)
        parameter.data = waiting
        self.weights.append(one)
        self.hooks += [
            layer.register_forward_pre_hook(lambda *_: self._enter(one), prepend=True),
            layer.register_forward_hook(lambda *_: self._leave(one), always_call=True),
        ]

    def _loading(self, own: Tensor, origin: Tensor, kind: str, in_file: bool) -> Load:
        device, dtype = own.device, own.dtype
        if kind == "as-is":
            return lambda: origin.to(device)
        parts = in_eight_bits(own) if kind == "fp8" else (own.to(torch.bfloat16),)
        stored = tuple(map(self.aside.put, parts)) if in_file else parts
        self.size += 0 if in_file else sum(part.nbytes for part in stored)
        if kind == "bf16":
            return lambda: stored[0].to(device, dtype)
        return lambda: (stored[0].to(device, torch.float32) * stored[1].to(device)).to(dtype)

    def _enter(self, one: _Weight) -> None:
        """Give the layer a parameter with its weights: one of its own, since recomputation keeps the object itself."""
        made = one.layer._parameters["weight"] = nn.Parameter(one.load(), requires_grad=False)
        self.computing[made.untyped_storage().data_ptr()] = one.load

    def _leave(self, one: _Weight) -> None:
        made = one.layer._parameters["weight"]
        one.layer._parameters["weight"] = one.parameter
        if made is not None:
            self.computing.pop(made.untyped_storage().data_ptr(), None)

    def pack(self, tensor: Tensor) -> Tensor | _Again:
        load = self.computing.get(tensor.untyped_storage().data_ptr())
        return tensor if load is None else _Again(load, tensor.shape, tensor.stride(), int(tensor.storage_offset()))

    def restore(self) -> None:
        for hook in self.hooks:
            hook.remove()
        for one in self.weights:
            one.parameter.data = back(one.origin, one.waiting.device)


def unpacked(kept: Tensor | _Again) -> Tensor:
    return kept.made() if isinstance(kept, _Again) else kept


@contextmanager
def stored(base: Base, trained: Iterable[Tensor], kind: str, offload: str, idle: Iterable[str]) -> Iterator[int]:
    """Store weights of a base inside the block. Yields the bytes that they take on the device.

    Args:
        trained: the weights that are trained, which stay as they are.
        kind: "as-is", "bf16" or "fp8", of the denoiser's weights.
        offload: "none"; "idle": the weights of idle networks wait in files; "all": those of the denoiser too.
        idle: the networks that no step uses, by component.

    Raises:
        TriptychError: the base's weights are no larger than they would be stored, or all of them are trained.
    """
    if kind == "bf16" and base.dtype.itemsize == 2:
        own = str(base.dtype).removeprefix("torch.")
        raise TriptychError(f"frozen=bf16 saves nothing on a base that is opened in {own}; fp8 halves its weights")
    if kind == "as-is" and offload == "none":
        yield 0
        return
    moved, modules = {id(tensor) for tensor in trained}, base.modules()
    chosen = [(modules[name], "as-is", True) for name in idle if offload != "none"]
    if kind != "as-is" or offload == "all":
        chosen.append((base.denoiser.module, kind, offload == "all"))
    frozen = set(base.denoiser.module.modules())
    with Aside() as aside:
        store = _Stored(aside)
        try:
            for module, how, in_file in chosen:
                for layer in module.modules():
                    if isinstance(layer, LAYERS) and id(layer.weight) not in moved:
                        store.take(layer, how, in_file)
            if kind != "as-is" and not any(one.layer in frozen for one in store.weights):
                raise TriptychError(f"frozen={kind} has nothing to store: all weights of the denoiser are trained")
            with torch.autograd.graph.saved_tensors_hooks(store.pack, unpacked):
                yield store.size
        finally:
            store.restore()
