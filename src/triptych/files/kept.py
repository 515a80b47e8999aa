"""Entries of the cache that can be made again: read where they are, written where that is possible, and bounded."""

from __future__ import annotations

import os
from contextlib import suppress
from typing import TYPE_CHECKING

from ..errors import TriptychError
from .atomic import write_bytes

if TYPE_CHECKING:
    from pathlib import Path


def read_kept(path: Path) -> bytes | None:
    """The bytes of an entry, which counts as used now; None where there is none."""
    try:
        data = path.read_bytes()
    except OSError:
        return None
    with suppress(OSError):  # a folder that can only be read
        os.utime(path)
    return data


def write_kept(path: Path, data: bytes) -> None:
    """Write an entry. A cache that cannot be written is no reason to fail."""
    with suppress(TriptychError):
        write_bytes(path, data)


def trim(folder: Path, most: int) -> None:
    """Delete the entries whose last use is longest ago until the folder has at most `most` bytes."""
    found = []
    for path in folder.glob("*"):  # files that a killed process left behind are entries, too
        with suppress(OSError):  # another process may have deleted it
            found.append((path.stat().st_mtime, path.stat().st_size, path))
    total = sum(size for _, size, _ in found)
    for _, size, path in sorted(found):
        if total <= most:
            break
        with suppress(OSError):
            path.unlink(missing_ok=True)
        total -= size
