"""The writer of `.pt` files: the zip archive that torch 1.13 wrote, which every reader since takes.

Newer versions of torch add records that the checker of A1111's web UI refuses (`.format_version`, `.data/...`), and put
the name of the file into it. Here an archive holds one folder, `archive`, with `data.pkl`, the storages `data/0`,
`data/1`, ... and `version`, and nothing else. The same content gives the same bytes.
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
}  # fmt: skip  # the kinds that A1111's checker allows
GLOBALS = (OrderedDict, torch._utils._rebuild_tensor_v2, *STORAGES.values())  # all that a file asks for
FOLDER, VERSION = "archive", b"3\n"
DATE = (1980, 1, 1, 0, 0, 0)  # of every record
ALIGNED = 64  # bytes: where records begin, so that storages can be mapped
EXTRA = b"FB\0\0"  # the name and length of the extra field that pads
LOCAL_HEADER = 30  # bytes of a zip record before its name


def write_pt(path: Path, content: Any) -> None:
    """Write nested tables, lists and tuples of tensors and plain values, whole or not at all.

    Each tensor has a storage of its own. Kinds of numbers that A1111 does not read become float32.

    Raises:
        TriptychError: the place cannot be written.
        TypeError: the content has something else in it.
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
    """Pickles by protocol 2, with tensors as torch.save has them; `tensors` are their numbers, flat."""

    def __init__(self, buffer: io.BytesIO) -> None:
        super().__init__(buffer, protocol=2)
        self.fast = True  # no memo: what a memo holds depends on which equal texts are one object
        self.tensors: list[Tensor] = []

    def reducer_override(self, value: Any) -> Any:
        if isinstance(value, Tensor):
            return self._tensor(value)
        if isinstance(value, OrderedDict) or any(value is one for one in GLOBALS):
            return NotImplemented  # as pickle does it
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
    """A record whose bytes begin at a multiple of `ALIGNED`, by an extra field such as torch writes."""
    entry = zipfile.ZipInfo(f"{FOLDER}/{name}", DATE)
    entry.create_system = 0  # the same on every system
    begin = archive.tell() + LOCAL_HEADER + len(entry.filename) + len(EXTRA)
    padding = -begin % ALIGNED
    entry.extra = EXTRA[:2] + padding.to_bytes(2, "little") + b"Z" * padding
    file.writestr(entry, data)
