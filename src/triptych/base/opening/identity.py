"""The fingerprint of a base's weights, remembered for the files that they came from.

Hashing all weights of a large base takes many seconds, and reading a few dates takes none. So it is done once for each
state of the files: their paths, sizes and times of change, and the precision in which they were opened.
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
    """Where the fingerprint is remembered of a base from these files and folders, opened as `how` says."""
    files = [file.resolve() for source in sources for file in _files(source)]
    states = [(str(file), (state := file.stat()).st_size, state.st_mtime_ns) for file in files]
    digest = hashlib.sha256(repr((SCHEMA, states, how)).encode()).hexdigest()
    return cache_folder() / "identity" / digest[:24]


def _files(source: Path) -> Iterator[Path]:
    yield from sorted(path for path in source.rglob("*") if path.is_file()) if source.is_dir() else [source]


def recall(record: Path) -> str:
    """The fingerprint that is remembered; empty where there is none."""
    try:
        text = record.read_text(encoding="ascii")
    except (OSError, UnicodeDecodeError):
        return ""
    return text if FINGERPRINT.fullmatch(text) else ""


def remember(record: Path, fingerprint: str) -> None:
    """Keep it for the next time; where nothing can be written, it is taken again."""
    if recall(record) != fingerprint:
        with suppress(TriptychError, OSError):
            write_text(record, fingerprint)
