"""A file of named tensors, whatever holds them: looked at by its header, read tensor by tensor where it is needed.

Importing this and looking at a header needs no torch, and takes no longer for gigabytes than for kilobytes.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from . import pickles
from .errors import TriptychError

if TYPE_CHECKING:
    import torch
    from torch import Tensor

SIZES = pickles.WIDTHS | {"U16": 2, "U32": 4, "U64": 8, "F8_E8M0": 1, "C64": 8}  # bytes of a number
LONGEST_HEADER = 100_000_000  # bytes, the limit of the safetensors library
CHUNK = 1 << 22  # numbers looked at together
PICTURES = (b"\x89PNG\r\n\x1a\n", b"RIFF", b"\xff\xd8\xff", b"GIF8")
MISTAKES = {  # first bytes -> what a file is that somebody took for a file of tensors
    b"<!DOCTYPE": "a web page", b"<!doctype": "a web page", b"<html": "a web page", b"{": "JSON", b"[": "JSON",
    b"version https://git-lfs": "a pointer of Git LFS, whose file was not fetched", b"GGUF": "a GGUF file",
    b"\x1f\x8b": "a gzip archive", b"7z\xbc\xaf": "a 7-Zip archive", b"Rar!": "a RAR archive", b"%PDF": "a PDF file",
    b"\x7fELF": "a program", b"MZ": "a program", b"\x93NUMPY": "a NumPy file", b"\x89HDF": "an HDF5 file",
}  # fmt: skip


@dataclass(frozen=True)
class Layout:
    """What a header says of one tensor. `dtype` is a name of safetensors: F32, F16, BF16, I64, ..."""

    dtype: str
    shape: tuple[int, ...]

    @property
    def numbers(self) -> int:
        return prod(self.shape)


@dataclass(frozen=True)
class TensorFile:
    """One file's header.

    `layouts` has every tensor by name; in a pickle nested names are joined by dots ("string_to_param.*",
    "768.0.linear.0.weight"), and a tensor that is the whole pickle is called "". `metadata` is the text that
    safetensors files carry, `values` the plain numbers, texts and short lists beside the tensors of a pickle. A picture
    has neither: what it may carry is for the format of embeddings in pictures to find. `data` is where the tensors of a
    safetensors file begin.
    """

    path: Path
    container: Literal["safetensors", "pickle", "picture"]
    layouts: Mapping[str, Layout]
    metadata: Mapping[str, str] = field(default_factory=dict)
    values: Mapping[str, Any] = field(default_factory=dict)
    data: int = 0

    @classmethod
    def open(cls, path: Path) -> TensorFile:
        """Read the header; what the file is, is told by its content, whatever it is called.

        Raises:
            TriptychError: there is no such file, it holds no tensors, its header lies, or it is not safe to read.
        """
        if not path.is_file():
            raise TriptychError(f"there is no file {path}")
        try:
            with path.open("rb") as file:
                first = file.read(64)
            return _opened(path, first)
        except OSError as error:
            raise TriptychError(f"{path} cannot be read: {error.strerror or error}") from error

    def tensors(self, names: Iterable[str] | None = None) -> dict[str, Tensor]:
        """The tensors of these names (all by default), memory-mapped where the container allows it.

        Raises:
            TriptychError: one is missing or holds values that are not finite numbers, or the file is damaged.
        """
        wanted = list(self.layouts if names is None else names)
        for name in wanted:
            if name not in self.layouts:
                raise TriptychError(f"{self.path} has no tensor {name!r}")
        found = self._from_safetensors(wanted) if self.container == "safetensors" else self._from_pickle(wanted)
        for name, tensor in found.items():
            if not _finite(tensor):
                raise TriptychError(
                    f"{self.path} is damaged: its tensor {name} holds values that are not finite numbers"
                )
        return found

    def _from_safetensors(self, names: list[str]) -> dict[str, Tensor]:
        from safetensors import SafetensorError, safe_open

        try:
            with safe_open(self.path, framework="pt") as file:
                return {name: file.get_tensor(name) for name in names}
        except (SafetensorError, OSError) as error:
            raise TriptychError(f"{self.path} is not a safetensors file: {error}") from error

    def _from_pickle(self, names: list[str]) -> dict[str, Tensor]:
        """Its opcodes were looked at when it was opened; torch's weights-only loader looks again."""
        import torch

        try:
            with self.path.open("rb") as file:
                mapped = file.read(2) == b"PK"
            loaded = torch.load(self.path, map_location="cpu", weights_only=True, mmap=mapped)
        except Exception as error:  # whatever a damaged file makes torch raise
            reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
            raise TriptychError(f"{self.path} cannot be loaded as weights only: {reason}") from error
        every = {name: value.detach() for name, value in pickles.flatten(loaded, torch.Tensor) if name in self.layouts}
        return {name: every[name] for name in names}


def _finite(tensor: Tensor) -> bool:
    """Whether all values are numbers: a sum of what is not finite is not finite. No copy of the whole is made."""
    import torch

    if not tensor.is_floating_point():
        return True
    wide = torch.float64 if tensor.dtype is torch.float64 else torch.float32
    parts: Iterator[torch.Tensor] = iter(tensor.reshape(-1).split(CHUNK))
    return all(bool(p.to(wide).sum().isfinite()) or bool(p.to(wide).isfinite().all()) for p in parts)


def _opened(path: Path, first: bytes) -> TensorFile:
    if not first:
        raise TriptychError(f"{path} is empty")
    if first[:4] == b"PK\x03\x04" or (first[:1] == b"\x80" and not _begins_safetensors(first)):
        return _open_pickle(path)
    if first[8:9] == b"{":
        return _open_safetensors(path)
    if first.startswith(PICTURES):
        return TensorFile(path, "picture", {})
    for start, what in MISTAKES.items():
        if first.startswith(start):
            raise TriptychError(f"{path} is {what}, not a file of tensors")
    raise TriptychError(f"{path} is not a file of tensors: neither a safetensors file nor one that torch wrote")


def _begins_safetensors(first: bytes) -> bool:
    """A length that is one, then a table in JSON. One length in 32 begins with the byte that pickles begin with."""
    return int.from_bytes(first[:8], "little") <= LONGEST_HEADER and first[8:9] == b"{"


def _open_pickle(path: Path) -> TensorFile:
    layouts, values = {}, {}
    for name, value in pickles.header(path):
        if name in layouts or name in values:
            raise TriptychError(f"{path} holds two values called {name!r}")
        if isinstance(value, pickles.Tensor):
            layouts[name] = Layout(value.dtype, value.shape)
        else:
            values[name] = value
    if not layouts:
        raise TriptychError(f"{path} holds no tensors")
    return TensorFile(path, "pickle", layouts, {}, values)


def _open_safetensors(path: Path) -> TensorFile:
    size = path.stat().st_size
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if not 2 <= length <= min(LONGEST_HEADER, size - 8):
            raise TriptychError(
                f"{path} is not a safetensors file, or cut off within its header (of {length} bytes by its own account)"
            )
        try:
            header = json.loads(file.read(length), object_pairs_hook=_no_twins)
        except (ValueError, RecursionError) as error:
            raise TriptychError(f"{path} is not a safetensors file: its header is not JSON ({error})") from error
    if not isinstance(header, dict):
        raise TriptychError(f"{path} is not a safetensors file: its header is no table")
    metadata = header.pop("__metadata__", {})
    if not isinstance(metadata, dict) or not all(isinstance(text, str) for text in metadata.values()):
        raise TriptychError(f"{path} is damaged: its metadata is no table of texts")
    if not header:
        raise TriptychError(f"{path} holds no tensors")
    layouts = _checked(path, header, size - 8 - length)
    return TensorFile(path, "safetensors", layouts, metadata, {}, 8 + length)


def _no_twins(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    table = dict(pairs)
    if len(table) < len(pairs):
        raise ValueError("it names something twice")
    return table


def _checked(path: Path, header: Mapping[str, Any], length: int) -> dict[str, Layout]:
    """Layouts whose bytes lie one behind the other, without a gap, up to the end of the file."""
    layouts: dict[str, Layout] = {}
    places = {}
    for name, entry in header.items():
        entry = entry if isinstance(entry, dict) else {}
        shape, dtype, place = (entry.get(key) for key in ("shape", "dtype", "data_offsets"))
        if not isinstance(dtype, str) or dtype not in SIZES:
            raise TriptychError(f"{path} is damaged: its tensor {name} is of the kind {dtype!r}, which there is not")
        if not (isinstance(shape, list) and isinstance(place, list) and len(place) == 2 and _counts(shape + place)):
            raise TriptychError(f"{path} is damaged: shape or place of its tensor {name} are no counts")
        layouts[name] = Layout(dtype, tuple(shape))
        places[name] = tuple(place)
        wanted = layouts[name].numbers * SIZES[dtype]
        if place[1] - place[0] != wanted:
            raise TriptychError(
                f"{path} is damaged: its tensor {name} needs {wanted} bytes by its shape {shape}, and has"
                f" {place[1] - place[0]}"
            )
    end = 0
    for name in sorted(places, key=lambda name: places[name]):
        if places[name][0] != end:
            raise TriptychError(f"{path} is damaged: its tensor {name} does not begin where the one before it ends")
        end = places[name][1]
    if end > length:
        raise TriptychError(f"{path} is cut off: {end - length} of its {end} bytes of tensors are missing")
    if end < length:
        raise TriptychError(f"{path} is damaged: {length - end} bytes follow its last tensor")
    return layouts


def _counts(values: list[Any]) -> bool:
    return all(type(one) is int and one >= 0 for one in values)
