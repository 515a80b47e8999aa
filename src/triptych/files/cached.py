"""What lies in the cache folder, by its parts. Everything there can be made again."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass

from ..errors import TriptychError, did_you_mean
from .atomic import cache_folder

PARTS: Mapping[str, str] = {
    "latents": "encoded training pictures",
    "texts": "encoded captions",
    "prior": "the base's own pictures of a class, for DreamBooth",
    "identity": "fingerprints of bases",
    "hashes": "hashes of files",
    "previews": "linear decoders of latents, for previews",
}
ALL = "all"


@dataclass(frozen=True)
class Part:
    """A part of the cache: its name, what it holds, files and bytes."""

    name: str
    holds: str
    files: int
    bytes: int


def parts() -> list[Part]:
    """The parts of the cache that have files."""
    found = []
    for name, holds in PARTS.items():
        sizes = [path.stat().st_size for path in (cache_folder() / name).rglob("*") if path.is_file()]
        found += [Part(name, holds, len(sizes), sum(sizes))] if sizes else []
    return found


def clear(name: str) -> list[Part]:
    """Delete a part, or `all`. Returns what was deleted.

    Raises:
        TriptychError: there is no such part.
    """
    if name not in (*PARTS, ALL):
        raise TriptychError(f"the cache has no part {name!r}{did_you_mean(name, (*PARTS, ALL))}")
    gone = [part for part in parts() if name in (part.name, ALL)]
    for part in gone:
        shutil.rmtree(cache_folder() / part.name, ignore_errors=True)
    return gone
