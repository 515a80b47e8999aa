"""Writes `.pt` files as torch 1.13 did: a zip archive that every later reader accepts.

Newer versions of torch add records that A1111's checker refuses (`.format_version`, `.data/...`), and store the file's
name. This writer makes one folder, `archive`, with only `data.pkl`, the storages `data/0`, `data/1`, ... and `version`.
The same content gives the same bytes.
"""

from __future__ import annotations

import io
import pickle
import zipfile
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from .atomic import write_bytes

STORAGES = {
    torch.float64: torch.DoubleStorage, torch.float32: torch.FloatStorage, torch.float16: torch.HalfStorage,
    torch.int64: torch.LongStorage, torch.int32: torch.IntStorage, torch.uint8: torch.ByteStorage,
}  # fmt: skip  # the data types that A1111's checker allows
GLOBALS = (OrderedDict, torch._utils._rebuild_tensor_v2, *STORAGES.values())  # all names that a file imports
FOLDER, VERSION = "archive", b"3\n"
DATE = (1980, 1, 1, 0, 0, 0)  # of every record
ALIGNED = 64  # bytes; the data of records begin at multiples of it, so that storages can be mapped
EXTRA = b"FB\0\0"  # the name and length of the extra field used as padding
LOCAL_HEADER = 30  # bytes of a zip record before its name


def write_pt(path: Path, content: Any) -> None:
    """Write nested dicts, lists and tuples of tensors and plain values atomically.

    Each tensor has its own storage. Data types that A1111 does not read become float32.

    Raises:
        TriptychError: the file cannot be written.
        TypeError: the content has a value of another type.
    """
    buffer = io.BytesIO()
    writer = _Writer(buffer)
    writer.dump(content)
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_STORED) as file:
        _add(file, archive, "data.pkl", buffer.getvalue())
        for key, tensor in enumerate(writer.tensors):
            _add(file, archive, f"data/{key}", tensor.reshape(-1).view(torch.uint8).numpy().tobytes())
        _add(file, archive, "version", VERSION)
    write_bytes(path, archive.getvalue())


class _Writer(pickle.Pickler):
    """Pickles with protocol 2, and tensors as `torch.save` does. `tensors` collects the contiguous tensors."""

    def __init__(self, buffer: io.BytesIO) -> None:
        super().__init__(buffer, protocol=2)
        self.fast = True  # no memo: its content would depend on which equal texts are the same object
        self.tensors: list[Tensor] = []

    def reducer_override(self, value: Any) -> Any:
        if isinstance(value, Tensor):
            return self._tensor(value)
        if isinstance(value, OrderedDict) or any(value is known for known in GLOBALS):
            return NotImplemented  # pickle's own way
        raise TypeError(f"a .pt file cannot hold a {type(value).__name__}")

    def _tensor(self, value: Tensor) -> tuple[Any, ...]:
        plain = value.detach().cpu()
        plain = (plain if plain.dtype in STORAGES else plain.float()).contiguous()
        self.tensors.append(plain)
        storage = _Storage(STORAGES[plain.dtype], str(len(self.tensors) - 1), plain.numel())
        given: tuple[Any, ...] = (storage, 0, tuple(plain.shape), plain.stride(), value.requires_grad, OrderedDict())
        return torch._utils._rebuild_tensor_v2, given

    def persistent_id(self, value: Any) -> tuple[Any, ...] | None:
        return ("storage", value.kind, value.key, "cpu", value.numbers) if isinstance(value, _Storage) else None


@dataclass(frozen=True)
class _Storage:
    kind: Any
    key: str
    numbers: int


def _add(file: zipfile.ZipFile, archive: io.BytesIO, name: str, data: bytes) -> None:
    """Add a record whose data begin at a multiple of `ALIGNED`. An extra field pads it, as in torch's files."""
    entry = zipfile.ZipInfo(f"{FOLDER}/{name}", DATE)
    entry.create_system = 0  # the same on every system
    begin = archive.tell() + LOCAL_HEADER + len(entry.filename) + len(EXTRA)
    padding = -begin % ALIGNED
    entry.extra = EXTRA[:2] + padding.to_bytes(2, "little") + b"Z" * padding
    file.writestr(entry, data)
