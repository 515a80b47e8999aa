"""Writes safetensors files one tensor at a time, so that gigabytes are never in memory at once.

The same tensors and metadata give the same bytes, since tensors and metadata have a fixed order.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from math import isfinite
from pathlib import Path

import torch
from torch import Tensor

from ..errors import TriptychError
from ..shell import writable
from .atomic import replacing
from .kinds import KINDS
from .mapped import CHUNK

DTYPES = {getattr(torch, kind.torch): name for name, kind in KINDS.items() if hasattr(torch, kind.torch)}
HASHES = {"modelspec.hash_sha256": "0x", "sshs_model_hash": ""}  # metadata entry -> prefix of the hash over all tensors


@dataclass(frozen=True)
class Entry:
    """A tensor to write. `make` returns it when it is written, in float32 or better if it was computed.

    It may return the tensor's values in flat parts instead, one after the other, so that they are not in memory at once
    before they are cast.
    """

    dtype: torch.dtype
    shape: tuple[int, ...]
    make: Callable[[], Tensor | Iterator[Tensor]]


@dataclass
class Rounding:
    """The error of casting to the file's precision, over all tensors written."""

    squares: float = 0.0
    lost: float = 0.0
    most: float = 0.0

    def add(self, exact: Tensor, written: Tensor) -> None:
        wide = torch.float64 if exact.dtype is torch.float64 else torch.float32
        pairs = zip(exact.reshape(-1).split(CHUNK), written.reshape(-1).split(CHUNK), strict=True)
        for before, after in pairs:
            if before.numel():
                kept = before.to(wide)
                difference = kept - after.to(wide)
                self.squares += float(kept.norm()) ** 2  # a dot product would wake all threads of BLAS
                self.lost += float(difference.norm()) ** 2
                most = float(difference.abs().max())
                self.most = most if not most <= self.most else self.most  # also what is not a number

    def __str__(self) -> str:
        if not self.lost:
            return ""
        relative = (self.lost / self.squares) ** 0.5
        return f"rounding changed the weights by {relative:.1e} of their size (RMS), at most by {self.most:.1e}"


def write_safetensors(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> None:
    """Write tensors in their own precision; see `write_entries`."""
    write_entries(path, {name: _entry(tensor) for name, tensor in tensors.items()}, metadata)


def _entry(tensor: Tensor) -> Entry:
    return Entry(tensor.dtype, tuple(tensor.shape), lambda: tensor)


def write_entries(
    path: Path, entries: Mapping[str, Entry], metadata: Mapping[str, str], rounding: Rounding | None = None
) -> Rounding:
    """Write a file atomically. Wide data types come first, so that every tensor is aligned.

    If the metadata has ModelSpec entries, the hash over the tensors' bytes is added under its two names.

    Returns:
        The rounding error; added to `rounding` if that is given.

    Raises:
        TriptychError: the file cannot be written, or a value is too large for its precision.
    """
    order = sorted(entries, key=lambda name: (-entries[name].dtype.itemsize, name))
    entries = {name: entries[name] for name in order}
    said = {"format": "pt"} | {name: writable(text) for name, text in metadata.items()}
    hashed = any(name.startswith("modelspec.") for name in said)
    if hashed:
        said |= {name: f"{before}{'0' * 64}" for name, before in HASHES.items()}
    digest, rounding = hashlib.sha256(), rounding or Rounding()
    with replacing(path) as temporary, temporary.open("w+b") as file:
        file.write(_header(entries, said))
        with ThreadPoolExecutor(1) as pool:
            for data in _one_ahead(pool, partial(_bytes, path, rounding), entries.items()):
                digest.update(data)
                file.write(data)
        if hashed:
            said |= {name: f"{before}{digest.hexdigest()}" for name, before in HASHES.items()}
            file.seek(0)
            file.write(_header(entries, said))
    return rounding


def _header(entries: Mapping[str, Entry], metadata: Mapping[str, str]) -> bytes:
    """The length of the JSON in eight bytes, then the JSON, padded with spaces to a multiple of eight."""
    table: dict[str, object] = {"__metadata__": dict(sorted(metadata.items()))}
    start = 0
    for name, entry in entries.items():
        end = start + entry.dtype.itemsize * torch.Size(entry.shape).numel()
        table[name] = {"dtype": DTYPES[entry.dtype], "shape": list(entry.shape), "data_offsets": [start, end]}
        start = end
    text = json.dumps(table, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text


def _one_ahead(
    pool: Executor, make: Callable[[tuple[str, Entry]], memoryview], entries: Iterable[tuple[str, Entry]]
) -> Iterator[memoryview]:
    """The bytes of each entry in order. The next are made while those before are written."""
    following: Future[memoryview] | None = None
    for entry in entries:
        this, following = following, pool.submit(make, entry)
        if this:
            yield this.result()
    if following:
        yield following.result()


def _bytes(path: Path, rounding: Rounding, named: tuple[str, Entry]) -> memoryview:
    name, entry = named
    made = entry.make()
    if isinstance(made, Tensor):
        written = _cast(made.detach().cpu(), entry.dtype, rounding).contiguous().reshape(-1)
    else:
        written = torch.empty(torch.Size(entry.shape).numel(), dtype=entry.dtype)
        begin = 0
        for part in made:
            end = begin + part.numel()
            written[begin:end] = _cast(part, entry.dtype, rounding)
            begin = end
    if not isfinite(rounding.most):
        precision = str(entry.dtype).removeprefix("torch.")
        raise TriptychError(f"{path} cannot be written in {precision}: {name} has values too large for it")
    return written.view(torch.uint8).numpy().data


def _cast(exact: Tensor, dtype: torch.dtype, rounding: Rounding) -> Tensor:
    written = exact.to(dtype)
    if dtype != exact.dtype:
        rounding.add(exact, written)
    return written
