"""Writes an artifact as a file, in triptych's own layout or in that of another program.

The metadata and embeddings of its source file are kept where the layout has a place for them. Losses are reported.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import TriptychError, did_you_mean
from ..units import listed
from .formats import formats
from .metadata import data_url, kept, lost, metadata_of
from .recipes import OWN, RECIPE, recipe_of

HEADED = ".safetensors"  # files of other suffixes have no place for metadata

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
) -> list[str]:
    """Write an artifact atomically. `triptych.load` reads it back.

    Args:
        to: the name of a format ("triptych", "kohya-lora", "a1111-hypernetwork", ...).
        base: the base that a checkpoint is made from.
        title: for the metadata; by default the name of the file.
        thumbnail: a small picture for the metadata.

    Returns:
        One sentence for each loss, and for what the user must know.

    Raises:
        TriptychError: no such format, it cannot hold this artifact, the file cannot be written, or the thumbnail is not
            a picture.
    """
    path, known = Path(path), formats()
    if to not in known:
        raise TriptychError(f"there is no format {to!r}{did_you_mean(to, known)}")
    layout, beside = known[to], artifact.beside
    metadata = kept(beside.header, metadata_of(artifact, title or path.stem)) | {RECIPE: recipe_of(artifact, to)}
    if thumbnail:
        metadata["modelspec.thumbnail"] = data_url(thumbnail)
    notes = [layout.write(artifact, path, base, metadata)]
    left = "" if layout.suffixes[0] == HEADED else lost(beside.header)
    if left:
        notes.append(f"{beside.file}: left out {left}: {to} has no place for them")
    if beside.words and not layout.words:
        able = " and ".join(name for name, other in known.items() if other.words)
        notes.append(
            f"{beside.file}: left out the embeddings within ({listed(list(beside.words))}), held by {able}; "
            "convert the file to a layout of embeddings to have them beside it"
        )
    return [note for note in notes if note]
