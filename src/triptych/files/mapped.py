"""Tensors from a memory-mapped file, at the places that its header states.

The mapping is private (copy on write): pages are read when they are used, and writing to a tensor does not change the
file.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from mmap import ACCESS_COPY, mmap
from typing import TYPE_CHECKING, Any, BinaryIO

from .kinds import KINDS
from .layout import Layout

if TYPE_CHECKING:
    import torch
    from torch import Tensor

CHUNK = 1 << 15  # numbers in work at once: so few stay in a processor's cache, and one thread works on them


def mapped(file: BinaryIO) -> mmap:
    return mmap(file.fileno(), 0, access=ACCESS_COPY)


def tensors_in(data: mmap, layouts: Mapping[str, Layout]) -> dict[str, Tensor]:
    """The tensors of these layouts. Tensors of one storage share memory.

    Raises:
        AttributeError: this version of torch lacks a data type.
    """
    import torch

    storages: dict[tuple[int, str], Tensor] = {}
    found = {}
    for name, layout in layouts.items():
        dtype, view = getattr(torch, KINDS[layout.dtype].torch), layout.view
        if not layout.numbers or view is None:
            found[name] = torch.empty(layout.shape, dtype=dtype)
            continue
        numbers = layout.numbers if view.numbers is None else view.numbers
        if view.inline is not None:
            storage = _storage(bytearray(view.inline), 0, numbers, layout.dtype, dtype)
        elif (view.begin, layout.dtype) in storages:
            storage = storages[view.begin, layout.dtype]
        else:
            storage = _storage(data, view.begin, numbers, layout.dtype, dtype)
            storages[view.begin, layout.dtype] = storage
        if view.stride is None:
            found[name] = storage.reshape(layout.shape)
        else:
            found[name] = storage.as_strided(layout.shape, view.stride, view.offset)
    return found


def _storage(data: Any, begin: int, numbers: int, kind: str, dtype: torch.dtype) -> Tensor:
    """The storage as a flat tensor [numbers]; a copy if its bytes are not aligned."""
    import torch

    width = KINDS[kind].bytes
    if begin % width:
        data, begin = bytearray(data[begin : begin + numbers * width]), 0
    return torch.frombuffer(data, dtype=torch.uint8, count=numbers * width, offset=begin).view(dtype)


def finite(tensor: Tensor) -> bool:
    """Whether all values are finite, checked in chunks: the sum of a chunk with NaN or infinity is not finite."""
    import torch

    if tensor.is_complex():
        tensor = torch.view_as_real(tensor)
    if not tensor.is_floating_point():
        return True
    wide = torch.float64 if tensor.dtype is torch.float64 else torch.float32
    axes = sorted(range(tensor.dim()), key=tensor.stride, reverse=True)  # memory order, so that nothing is copied
    parts: Iterator[torch.Tensor] = iter(tensor.permute(axes).reshape(-1).split(CHUNK))
    return all(bool(p.to(wide).sum().isfinite()) or bool(p.to(wide).isfinite().all()) for p in parts)
