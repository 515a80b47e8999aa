"""What a header says of one tensor: kind, shape, and where its numbers lie."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod


@dataclass(frozen=True)
class View:
    """Where a tensor's numbers lie.

    `begin`: the byte of the file at which its storage begins. `offset` and `stride` are in numbers, within that
    storage; `stride` is None where the numbers lie one behind the other. `inline`: the numbers themselves, where a
    pickle holds them.
    """

    begin: int
    offset: int = 0
    stride: tuple[int, ...] | None = None
    numbers: int | None = None  # of the storage; None: those of the tensor alone
    inline: bytes | None = None


@dataclass(frozen=True)
class Layout:
    """`dtype` is a name of safetensors: F32, F16, BF16, I64, ... `view` is None where the numbers are in no file."""

    dtype: str
    shape: tuple[int, ...]
    view: View | None = None

    @property
    def numbers(self) -> int:
        return prod(self.shape)
