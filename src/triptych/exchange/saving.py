"""Write an artifact as a file: in our own layout, or in that of another program."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import TriptychError, did_you_mean
from .formats import formats
from .metadata import metadata_of
from .recipes import OWN, RECIPE, recipe_of

if TYPE_CHECKING:
    from ..base import Base
    from .artifact import Artifact


def save(
    artifact: Artifact,
    path: Path | str,
    *,
    to: str = OWN,
    base: Base | None = None,
    title: str = "",
    thumbnail: Path | None = None,
) -> str:
    """Write an artifact whole or not at all. `triptych.load` reads it back.

    Args:
        to: the name of a format ("triptych", "kohya-lora", "a1111-hypernetwork", ...).
        base: the base that a checkpoint is made of.
        title: for the metadata; by default the name of the file.
        thumbnail: a small picture for the metadata.

    Returns:
        What the format cannot hold, or what must be known to use the file, as a clause, or "".

    Raises:
        TriptychError: no such format, it cannot hold this artifact, the place cannot be written, or the thumbnail is
            not a picture.
    """
    path, known = Path(path), formats()
    if to not in known:
        raise TriptychError(f"there is no format {to!r}{did_you_mean(to, known)}")
    metadata = metadata_of(artifact, title or path.stem, thumbnail) | {RECIPE: recipe_of(artifact, to)}
    return known[to].write(artifact, path, base, metadata)
