"""A file of named tensors, whatever holds them: looked at by its header, read tensor by tensor where it is needed.

Importing this and looking at a header needs no torch, and takes no longer for gigabytes than for kilobytes.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from .errors import TriptychError

if TYPE_CHECKING:
    from torch import Tensor

SIZES = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2, "F8_E4M3": 1, "F8_E5M2": 1,
         "I64": 8, "I32": 4, "I16": 2, "I8": 1, "U8": 1, "BOOL": 1}  # fmt: skip
LONGEST_HEADER = 100_000_000  # bytes, the limit of the safetensors library


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
    "768.0.linear.0.weight"). `metadata` is the text that safetensors files carry, `values` the plain numbers, texts and
    lists beside the tensors of a pickle.
    """

    path: Path
    container: Literal["safetensors", "pickle", "picture"]
    layouts: Mapping[str, Layout]
    metadata: Mapping[str, str] = field(default_factory=dict)
    values: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def open(cls, path: Path) -> TensorFile:
        """Read the header.

        Raises:
            TriptychError: there is no such file, it holds no tensors, its header lies, or it is not safe to read.
        """
        if not path.is_file():
            raise TriptychError(f"there is no file {path}")
        return _open_safetensors(path)

    def tensors(self, names: Iterable[str] | None = None) -> dict[str, Tensor]:
        """The tensors of these names (all by default), memory-mapped where the container allows it.

        Raises:
            TriptychError: one of them holds values that are not finite numbers, or the file is damaged.
        """
        from safetensors import safe_open

        wanted = list(self.layouts if names is None else names)
        with safe_open(self.path, framework="pt") as file:
            found = {name: file.get_tensor(name) for name in wanted}
        for name, tensor in found.items():
            if tensor.is_floating_point() and not tensor.isfinite().all():
                raise TriptychError(
                    f"{self.path} is damaged: its tensor {name} holds values that are not finite numbers"
                )
        return found


def _open_safetensors(path: Path) -> TensorFile:
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if not 2 <= length <= min(LONGEST_HEADER, path.stat().st_size - 8):
            raise TriptychError(f"{path} is not a safetensors file: its first bytes are no length of a header")
        try:
            header = json.loads(file.read(length))
        except ValueError as error:
            raise TriptychError(f"{path} is not a safetensors file: its header is not JSON ({error})") from error
    metadata = header.pop("__metadata__", {})
    layouts = {name: Layout(entry["dtype"], tuple(entry["shape"])) for name, entry in header.items()}
    return TensorFile(path, "safetensors", layouts, metadata)
