"""Checkpoints in a study of dilution: each is taken as its difference from the base, which is attached like any file.

The average of checkpoints is the base with the average of their differences, so nothing is lost but the rounding of the
differences to half precision. The autoencoders of checkpoints take no part.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from ..base.opening.identity import record_of
from ..exchange.formats import recognise
from ..files.hashes import known_sha256
from ..files.tensorfile import TensorFile
from ..mixing.merge import DIFFERENCE, merge
from ..mixing.request import Ingredient, Mix
from .plan import Arm, DilutionPlan

CHECKPOINT = "checkpoint"
Note = Callable[[str], None]


def as_differences(
    plan: DilutionPlan, single: Sequence[Arm], folder: Path, note: Note
) -> tuple[DilutionPlan, list[Arm]]:
    """A plan, and mixes that exist already, with differences in the place of all checkpoints.

    Args:
        folder: for the differences. Those that are there are used again.

    Raises:
        TriptychError: a file is missing or damaged, or a checkpoint does not fit the base.
    """

    def taken(file: Path) -> Path:
        return as_difference(file, plan.place.source, folder, note)

    sources = tuple(replace(source, file=taken(source.file)) for source in plan.sources)
    beside = tuple(tuple(map(taken, files)) for files in plan.beside)
    arms = [replace(arm, files=tuple(map(taken, arm.files))) for arm in single]
    return replace(plan, sources=sources, beside=beside), arms


def as_difference(file: Path, base: str, folder: Path, note: Note) -> Path:
    """The difference of a checkpoint or a folder's base from a base, as a file of the same name; other files stay."""
    if not file.is_dir() and recognise(TensorFile.open(file)).kind != CHECKPOINT:
        return file
    note(f"{file.name} is measured by its difference from {Path(base).name}, without its autoencoder")
    digest = record_of([file]).name if file.is_dir() else known_sha256(file)
    path = folder / f"{digest[:16]}-{Path(base).name}" / f"{file.stem}.safetensors"
    if not path.is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
        merge(Mix((Ingredient(file),), DIFFERENCE, base), path)
    return path
