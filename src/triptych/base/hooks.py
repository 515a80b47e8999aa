"""Hooks of torch's modules for the time of a `with` block."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from torch.utils.hooks import RemovableHandle


@contextmanager
def hooked(hooks: Iterable[RemovableHandle]) -> Iterator[None]:
    """Remove hooks at the end of the `with` block."""
    opened = list(hooks)
    try:
        yield
    finally:
        for hook in opened:
            hook.remove()
