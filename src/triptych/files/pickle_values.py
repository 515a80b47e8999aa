"""The values that reading a pickle gives: plain values, descriptions of tensors, and inert stubs for the rest."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from .kinds import KINDS

DEEPEST = 32  # most levels of nested dicts and lists, and most dimensions of a tensor
LARGEST = 2**61 - 1  # of sizes, strides and keys: integers up to here have distinct hashes


class RefusedError(Exception):
    """A pickle is refused. The message is the rest of a sentence that begins with the file's name."""


@dataclass(frozen=True, eq=False)
class Global:
    """A name in the pickle, `module name`, of a class or a function. It is never imported."""

    name: str

    @property
    def dotted(self) -> str:
        return self.name.replace(" ", ".", 1)


@dataclass(eq=False)
class Stub:
    """Stands for an object of the class `name`. The class is never imported or called.

    `content` is what triptych understands: the entries set on it (a dict), the parameters of a module (a dict), the
    numbers of an array (a tensor), or None. All other state is dropped.
    """

    name: str
    content: Any = None


@dataclass(frozen=True)
class Storage:
    """Bytes elsewhere in the file: `numbers` of this data type."""

    dtype: str
    key: str
    numbers: int

    @property
    def bytes(self) -> int:
        return self.numbers * KINDS[self.dtype].bytes


@dataclass(frozen=True, eq=False)
class Tensor:
    """The description of a tensor: a view of a storage, or of bytes in the pickle itself."""

    dtype: str
    shape: tuple[int, ...]
    stride: tuple[int, ...]  # in numbers, like `offset`
    offset: int
    source: Storage | bytes


def is_count(number: Any) -> bool:
    """Whether it is an integer from 0 to `LARGEST`."""
    return type(number) is int and 0 <= number < LARGEST


def is_key(key: Any) -> bool:
    """Whether it may be a dict's key: a text or an integer. Nothing else is hashed or compared."""
    return type(key) is str or (isinstance(key, int) and abs(key) < LARGEST)


def content_of(value: Any) -> Any:
    """The value; of a stub, its content."""
    return value.content if isinstance(value, Stub) else value
