"""What a header states about one tensor: data type, shape, and the place of its numbers in the file."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod


@dataclass(frozen=True)
class View:
    """The place of a tensor's numbers.

    Attributes:
        begin: the byte of the file at which the storage begins.
        offset: of the first number in the storage, in numbers.
        stride: in numbers; None for a contiguous tensor.
        numbers: of the storage; None if the storage holds this tensor alone.
        inline: the bytes of the numbers, if the pickle itself holds them.
    """

    begin: int
    offset: int = 0
    stride: tuple[int, ...] | None = None
    numbers: int | None = None
    inline: bytes | None = None


@dataclass(frozen=True)
class Layout:
    """`dtype` is the safetensors name: F32, F16, BF16, I64, ... `view` is None if the numbers are in no file."""

    dtype: str
    shape: tuple[int, ...]
    view: View | None = None

    @property
    def numbers(self) -> int:
        return prod(self.shape)
