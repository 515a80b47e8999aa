"""What a prompt says beside its words: weights, schedules, AND; the files that it calls; the words of embeddings.

`emphasis`, `schedule` and `conjunction` return plain lists; the `read_` functions also return what is not read as it
may have been meant. Nothing here needs torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .chunking import chunks
    from .conjunctions import Conjunction, read_conjunction
    from .grammar import Remark
    from .runs import Weighted
    from .schedules import Schedule, read_schedule
    from .weights import Emphasis, escape, read_emphasis, write

_HOME = {
    "chunks": "chunking", "Conjunction": "conjunctions", "read_conjunction": "conjunctions", "Remark": "grammar",
    "Weighted": "runs",
    "Schedule": "schedules", "read_schedule": "schedules",
    "Emphasis": "weights", "escape": "weights", "read_emphasis": "weights", "write": "weights",
}  # fmt: skip  # imported when first asked for, since lark is

__all__ = [
    "Conjunction", "Emphasis", "Remark", "Schedule", "Weighted", "chunks", "conjunction", "emphasis", "escape",
    "read_conjunction", "read_emphasis", "read_schedule", "schedule", "write",
]  # fmt: skip


def emphasis(text: str, mode: str = "a1111") -> list[tuple[str, float]]:
    """Text and weight of each run of a prompt: see `read_emphasis`."""
    from .weights import read_emphasis

    return list(read_emphasis(text, mode).runs)


def schedule(text: str, steps: int, mode: str = "a1111", late: bool = False) -> list[tuple[int, str]]:
    """The last step, counted from 1, and the text up to it: see `read_schedule`."""
    from .schedules import read_schedule

    return list(read_schedule(text, steps, mode, late).entries)


def conjunction(text: str, mode: str = "a1111") -> list[tuple[str, float]]:
    """Text and weight of each prompt that AND joins: see `read_conjunction`."""
    from .conjunctions import read_conjunction

    return list(read_conjunction(text, mode).pieces)


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_HOME[name]}", __name__), name)
