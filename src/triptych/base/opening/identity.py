"""A cache of the fingerprints of bases.

Hashing all weights of a large base takes many seconds. So a fingerprint is cached for the state of the files: their
paths, sizes and modification times, and the precision in which they were opened.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path

from ...errors import TriptychError
from ...files.atomic import cache_folder, write_text

SCHEMA = 1  # raise it when the same weights come to have another fingerprint
FINGERPRINT = re.compile("[0-9a-f]{16}")


def record_of(sources: Iterable[Path], *how: object) -> Path:
    """The cache file of a base's fingerprint, for these files and folders and the options `how` of opening them."""
    files = [file.resolve() for source in sources for file in _files(source)]
    states = [(str(file), (state := file.stat()).st_size, state.st_mtime_ns) for file in files]
    digest = hashlib.sha256(repr((SCHEMA, states, how)).encode()).hexdigest()
    return cache_folder() / "identity" / digest[:24]


def _files(source: Path) -> Iterator[Path]:
    yield from sorted(path for path in source.rglob("*") if path.is_file()) if source.is_dir() else [source]


def recall(record: Path) -> str:
    """The cached fingerprint, or ""."""
    try:
        text = record.read_text(encoding="ascii")
    except (OSError, UnicodeDecodeError):
        return ""
    return text if FINGERPRINT.fullmatch(text) else ""


def remember(record: Path, fingerprint: str) -> None:
    """Cache the fingerprint. If the cache cannot be written, the fingerprint is computed again next time."""
    if recall(record) != fingerprint:
        with suppress(TriptychError, OSError):
            write_text(record, fingerprint)
