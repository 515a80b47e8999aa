"""The hashes that identify model files: SHA-256 of the file, and the two short forms that sites show."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from ..errors import TriptychError
from .atomic import cache_folder, write_text
from .tensorfile import TensorFile

CHUNK = 1 << 20


@dataclass(frozen=True)
class Hashes:
    """`autov2`: the first 10 digits of `sha256`. `autov3`: the first 12 of a safetensors file without its header."""

    sha256: str
    autov2: str
    autov3: str = ""


def hashes_of(path: Path, header: int = 0) -> Hashes:
    """Hash the file in one pass. `header`: bytes before the tensors of a safetensors file; 0 for other containers."""
    whole, tensors = hashlib.sha256(), hashlib.sha256()
    chunk = memoryview(bytearray(CHUNK))
    with path.open("rb", buffering=0) as file:
        whole.update(file.read(header))
        while count := file.readinto(chunk):
            whole.update(chunk[:count])
            if header:
                tensors.update(chunk[:count])
    digest = whole.hexdigest().upper()
    return Hashes(digest, digest[:10], tensors.hexdigest().upper()[:12] if header else "")


def known_hashes(path: Path) -> Hashes:
    """The hashes of a file of tensors, from the cache if the file has not changed since it was hashed.

    Raises:
        TriptychError: the file cannot be read.
    """
    return Hashes(**_known(path, "autov3", lambda: asdict(hashes_of(path, TensorFile.open(path).data))))


def known_sha256(path: Path) -> str:
    """`known_hashes(path).sha256`, in half the time where the file is not known yet.

    Raises:
        TriptychError: the file cannot be read.
    """
    return _known(path, "sha256", lambda: {"sha256": hashes_of(path).sha256})["sha256"]


def _known(path: Path, wanted: str, hashed: Callable[[], dict[str, str]]) -> dict[str, str]:
    """The record of a file in the cache. If it lacks what is wanted, it is made anew."""
    try:
        stat = path.stat()
        seen = f"{path.resolve()}|{stat.st_size}|{stat.st_mtime_ns}"
        record = cache_folder() / "hashes" / f"{hashlib.sha256(seen.encode(errors='surrogateescape')).hexdigest()}.json"
        with suppress(OSError, ValueError, TypeError):
            known: dict[str, str] = json.loads(record.read_text(encoding="utf-8"))
            if wanted in known:
                return known
        known = hashed()
    except OSError as error:
        raise TriptychError(f"{path} cannot be read: {error.strerror or error}") from error
    with suppress(TriptychError):  # without a cache the file is hashed again
        write_text(record, json.dumps(known))
    return known
