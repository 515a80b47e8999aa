"""The hashes by which files of models are known: SHA-256 of the file, and the two short forms that sites show."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

CHUNK = 1 << 22


@dataclass(frozen=True)
class Hashes:
    """`autov2`: the first 10 digits of `sha256`. `autov3`: the first 12 of a safetensors file without its header."""

    sha256: str
    autov2: str
    autov3: str = ""


def hashes_of(path: Path, header: int = 0) -> Hashes:
    """Read the file once. `header`: bytes before the tensors of a safetensors file, 0 for other containers."""
    whole, tensors = hashlib.sha256(), hashlib.sha256()
    with path.open("rb") as file:
        whole.update(file.read(header))
        while chunk := file.read(CHUNK):
            whole.update(chunk)
            if header:
                tensors.update(chunk)
    digest = whole.hexdigest().upper()
    return Hashes(digest, digest[:10], tensors.hexdigest().upper()[:12] if header else "")
