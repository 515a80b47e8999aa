"""Flattens the nested value of a pickle into one table: names joined by dots, and a count of what is left out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from ..errors import shown
from .pickle_values import DEEPEST, Global, RefusedError, Storage, Stub, Tensor

SHORT = 64  # most values of a list that is kept
MOST_LETTERS = 4_000_000  # of all names together; each name counts as its length plus 50
INNER = (dict, list, tuple, Tensor, Stub, Global, Storage, bytes)  # types that make a list not plain


@dataclass
class Flat:
    """Values by name: `string_to_param.*`, `768.0.linear.0.weight`. The name of a value that is not nested is "".

    Short lists of plain values are kept whole; longer ones are dropped. `left_out` counts by type what is neither a
    tensor nor a plain value.
    """

    left_out: Counter[str] = field(default_factory=Counter)
    left: int = MOST_LETTERS

    def items(self, value: Any, name: str = "", depth: int = 0) -> Iterator[tuple[str, Any]]:
        """
        Raises:
            RefusedError: the value is nested too deeply, or has too many names.
            UnicodeEncodeError: a text is not valid Unicode.
        """
        self.left -= 50 + len(name) + (len(value) if isinstance(value, str | list | tuple) else 0)
        if depth > DEEPEST or self.left < 0:
            raise RefusedError("is nested deeper, or holds more, than any file of tensors")
        if isinstance(value, Stub) and isinstance(value.content, dict | Tensor):
            value = value.content
        if isinstance(value, Tensor | str | int | float | None):
            (name + value if isinstance(value, str) else name).encode()
            yield name, value
        elif isinstance(value, list | tuple) and not any(issubclass(kind, INNER) for kind in set(map(type, value))):
            if len(value) <= SHORT:
                yield name, list(value)
        elif isinstance(value, dict | list | tuple):
            for key, inner in value.items() if isinstance(value, dict) else enumerate(value):
                yield from self.items(inner, f"{name}.{key}" if name else str(key), depth + 1)
        else:
            self.left_out[what(value)] += 1


def what(value: Any) -> str:
    """The type of a value that is left out, as the user reads it."""
    if isinstance(value, Global | Stub):
        return shown(value.name.replace(" ", ".", 1))
    return {bytes: "bytes", Storage: "a storage without a tensor"}.get(type(value), type(value).__name__)
