"""What a pickle's values become when they are read: plain values, tensors described, and inert stubs for the rest."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from .kinds import KINDS

DEEPEST = 32  # of nested tables and lists, and of a tensor's shape
LARGEST = 2**61 - 1  # of sizes, steps and keys: up to here different whole numbers have different hashes


class RefusedError(Exception):
    """The rest of a sentence that begins with the file's name."""


@dataclass(frozen=True, eq=False)
class Global:
    """A name that the pickle asks for, `module name`. It stands for a class or a function, and is neither."""

    name: str

    @property
    def dotted(self) -> str:
        return self.name.replace(" ", ".", 1)


@dataclass(eq=False)
class Stub:
    """An object that the pickle would make of the class `name`. Nothing of that class is imported or called.

    `content` is what is understood of it: the entries that are set on it (a table), the parameters of a module (a
    table), the numbers of an array (a tensor), or None. Everything else that the pickle gives it is dropped.
    """

    name: str
    content: Any = None


@dataclass(frozen=True)
class Storage:
    """Bytes elsewhere in the file: `numbers` of this kind."""

    dtype: str
    key: str
    numbers: int

    @property
    def bytes(self) -> int:
        return self.numbers * KINDS[self.dtype].bytes


@dataclass(frozen=True, eq=False)
class Tensor:
    """A tensor that would be built: a view of a storage, or of bytes that lie in the pickle itself."""

    dtype: str
    shape: tuple[int, ...]
    stride: tuple[int, ...]  # in numbers, as `offset`
    offset: int
    source: Storage | bytes


def is_count(number: Any) -> bool:
    """Whether it is a number of things or bytes that a machine can have."""
    return type(number) is int and 0 <= number < LARGEST


def is_key(key: Any) -> bool:
    """Whether a table may have it: a text or a whole number. Nothing else is ever hashed or compared."""
    return type(key) is str or (isinstance(key, int) and abs(key) < LARGEST)


def content_of(value: Any) -> Any:
    """The value, or what is understood of it where it is a stub."""
    return value.content if isinstance(value, Stub) else value
