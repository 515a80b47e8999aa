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

from ..errors import TriptychError, shown
from . import archives, pickles

if TYPE_CHECKING:
    import torch
    from torch import Tensor

SIZES = pickles.WIDTHS | {"F8_E8M0": 1, "F8_E4M3FNUZ": 1, "F8_E5M2FNUZ": 1, "C64": 8}  # bytes of a number
LONGEST_HEADER = 100_000_000  # bytes, the limit of the safetensors library
MOST_PARTS = 2_000_000  # of a header: of signs that begin a table or list, or part its members
FIRST = 512  # bytes by which a file is told
CHUNK = 1 << 22  # numbers looked at together
PICTURES = (b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"GIF8")
MISTAKES = {  # first bytes -> what a file is that somebody took for a file of tensors
    b"version https://git-lfs": "a pointer of Git LFS, whose file was not fetched", b"GGUF": "a GGUF file",
    b"\x1f\x8b": "a gzip archive", b"7z\xbc\xaf": "a 7-Zip archive", b"Rar!": "a RAR archive", b"%PDF": "a PDF file",
    b"\x28\xb5\x2f\xfd": "a Zstandard archive", b"PK\x05\x06": "an empty zip archive", b"PK": "a damaged zip archive",
    b"\x7fELF": "a program", b"MZ": "a program", b"#!": "a program", b"\x93NUMPY": "a NumPy file",
    b"\x89HDF": "an HDF5 file", b"SQLite format 3": "a database",
}  # fmt: skip
TEXTS = {b"<": "a web page", b"{": "JSON", b"[": "JSON"}  # first letter of a text -> what it is


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
        try:
            if path.is_dir():
                raise TriptychError(f"{path} is a folder, not a file of tensors")
            if not path.is_file():
                raise TriptychError(f"there is no file {path}")
            with path.open("rb") as file:
                first = file.read(FIRST)
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
                raise TriptychError(f"{self.path} has no tensor {shown(name)!r}")
        if not wanted:
            return {}
        found = self._from_safetensors(wanted) if self.container == "safetensors" else self._from_pickle(wanted)
        for name, tensor in found.items():
            if not _finite(tensor):
                raise TriptychError(
                    f"{self.path} is damaged: its tensor {shown(name)} holds values that are not finite numbers"
                )
        return found

    def _from_safetensors(self, names: list[str]) -> dict[str, Tensor]:
        from safetensors import SafetensorError, safe_open

        try:
            with safe_open(self.path, framework="pt") as file:
                return {name: file.get_tensor(name) for name in names}
        except (SafetensorError, OSError, AttributeError) as error:  # the last: a kind that this torch does not have
            raise TriptychError(f"{self.path} cannot be read: {shown(str(error))}") from error

    def _from_pickle(self, names: list[str]) -> dict[str, Tensor]:
        """Its opcodes were looked at when it was opened; torch's weights-only loader looks again.

        torch would take what is called .safetensors for that, whatever it is, unless it is given the open file.
        """
        import torch

        try:
            with self.path.open("rb") as file:
                mapped = file.read(2) == b"PK" and self.path.suffix != ".safetensors"
                file.seek(0)
                loaded = torch.load(self.path if mapped else file, map_location="cpu", weights_only=True, mmap=mapped)
            every = dict(pickles.flatten(loaded, torch.Tensor))
        except (
            Exception
        ) as error:  # whatever a damaged file makes torch raise; its advice to load it all the same is left out
            reason = str(error).partition("WeightsUnpickler error:")[2].strip() or type(error).__name__
            raise TriptychError(
                f"{self.path} cannot be read by torch's weights-only loader ({shown(reason)})"
            ) from error
        found = {}
        for name in names:
            tensor, layout = every.get(name), self.layouts[name]
            if not isinstance(tensor, torch.Tensor) or tuple(tensor.shape) != layout.shape:
                raise TriptychError(f"{self.path} is damaged: its tensor {shown(name)} is not what its opcodes say")
            found[name] = tensor.detach()
        return found


def _finite(tensor: Tensor) -> bool:
    """Whether all values are numbers: a sum of what is not finite is not finite. No copy of the whole is made."""
    import torch

    if tensor.is_complex():
        tensor = torch.view_as_real(tensor)
    if not tensor.is_floating_point():
        return True
    wide = torch.float64 if tensor.dtype is torch.float64 else torch.float32
    axes = sorted(range(tensor.dim()), key=tensor.stride, reverse=True)  # as it lies, so that nothing is copied
    parts: Iterator[torch.Tensor] = iter(tensor.permute(axes).reshape(-1).split(CHUNK))
    return all(bool(p.to(wide).sum().isfinite()) or bool(p.to(wide).isfinite().all()) for p in parts)


def _opened(path: Path, first: bytes) -> TensorFile:
    if first[:4] == b"PK\x03\x04" or (first[:1] == b"\x80" and not _begins_safetensors(first)):
        return _open_pickle(path)
    if first[8:9] == b"{" and first[:1] not in TEXTS:
        return _open_safetensors(path)
    if first.startswith(PICTURES) or (first[:4], first[8:12]) == (b"RIFF", b"WEBP"):
        return TensorFile(path, "picture", {})
    raise TriptychError(f"{path} is {_mistaken(first)}, not a file of tensors")


def _begins_safetensors(first: bytes) -> bool:
    """A length that is one, then a table in JSON. One length in 32 begins with the byte that pickles begin with."""
    return int.from_bytes(first[:8], "little") <= LONGEST_HEADER and first[8:9] == b"{"


def _mistaken(first: bytes) -> str:
    """What people keep under the name of a file of tensors by mistake."""
    for start, what in MISTAKES.items():
        if first.startswith(start):
            return what
    if not first.strip(b"\0"):
        return "a download that never came" if first else "empty"
    if first[257:262] == b"ustar":
        return "a tar archive"
    text = first.removeprefix(b"\xef\xbb\xbf").strip()
    if all(byte >= 32 or byte in b"\t\r\n" for byte in text):
        return TEXTS.get(text[:1], f"a text ({shown(text[:40].decode(errors='replace'))!r})")
    return "of a kind that is not known"


def _open_pickle(path: Path) -> TensorFile:
    layouts, values = {}, {}
    for name, value in archives.header(path):
        if name in layouts or name in values:
            raise TriptychError(f"{path} holds two values called {shown(name)!r}")
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
        header = _table(path, file.read(length))
    metadata = header.pop("__metadata__", {})
    if not isinstance(metadata, dict) or not all(isinstance(text, str) for text in metadata.values()):
        raise TriptychError(f"{path} is damaged: its metadata is no table of texts")
    if not header:
        raise TriptychError(f"{path} holds no tensors")
    layouts = _checked(path, header, size - 8 - length)
    return TensorFile(path, "safetensors", layouts, metadata, {}, 8 + length)


def _table(path: Path, data: bytes) -> dict[str, Any]:
    """A header's JSON, which is parsed only if it has no more parts than a file of tensors needs."""
    if data.count(b",") > MOST_PARTS or data.count(b"[") + data.count(b"{") > MOST_PARTS // 4:
        raise TriptychError(f"{path} has a header of more parts than any file of tensors")
    try:
        header = json.loads(data, object_pairs_hook=_no_twins)
    except UnicodeError as error:
        raise TriptychError(f"{path} is damaged: its header holds what is no Unicode") from error
    except (ValueError, RecursionError) as error:
        raise TriptychError(f"{path} is not a safetensors file: its header is not JSON ({error})") from error
    if not isinstance(header, dict):
        raise TriptychError(f"{path} is not a safetensors file: its header is no table")
    return header


def _no_twins(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    for name, value in pairs:
        (name + value if isinstance(value, str) else name).encode()  # raises what json lets pass: half a letter
    table = dict(pairs)
    if len(table) < len(pairs):
        raise ValueError("it names something twice")
    return table


def _checked(path: Path, header: Mapping[str, Any], length: int) -> dict[str, Layout]:
    """Layouts whose bytes lie one behind the other, without a gap, up to the end of the file."""
    layouts: dict[str, Layout] = {}
    places: dict[str, tuple[int, int]] = {}
    for name, entry in header.items():
        broken = f"{path} is damaged: its tensor {shown(name)}"
        entry = entry if isinstance(entry, dict) else {}
        shape, dtype, place = (entry.get(key) for key in ("shape", "dtype", "data_offsets"))
        if not isinstance(dtype, str) or dtype not in SIZES:
            raise TriptychError(f"{broken} is of the kind {shown(repr(dtype))}, which there is not")
        sizes, ends = _counts(shape), _counts(place)
        if sizes is None or ends is None or len(ends) != 2:
            raise TriptychError(f"{broken} has a shape or a place that are no counts")
        layouts[name] = Layout(dtype, sizes)
        places[name] = (ends[0], ends[1])
        wanted, there = layouts[name].numbers * SIZES[dtype], ends[1] - ends[0]
        if there != wanted:
            raise TriptychError(f"{broken} needs {wanted} bytes by its shape {shown(shape)}, and has {there}")
    end = 0
    for name in sorted(places, key=lambda name: places[name]):
        if places[name][0] != end:
            raise TriptychError(
                f"{path} is damaged: its tensor {shown(name)} does not begin where the one before it ends"
            )
        end = places[name][1]
        if end > length:
            whole = max(last for _, last in places.values())
            raise TriptychError(
                f"{path} is cut off: {whole - length} of its {whole} bytes of tensors are missing,"
                f" from its tensor {shown(name)} on"
            )
    if end < length:
        raise TriptychError(f"{path} is damaged: {length - end} bytes follow its last tensor")
    return layouts


def _counts(values: Any) -> tuple[int, ...] | None:
    right = isinstance(values, list) and len(values) <= pickles.DEEPEST
    return tuple(values) if right and all(map(pickles.is_count, values)) else None
