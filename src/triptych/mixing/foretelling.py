"""What can be told of a mix from its files alone: how their changes overlap, pair by pair."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache, partial
from pathlib import Path

from torch import Tensor

from ..base import Base, Place
from ..errors import Remedy, TriptychError
from ..exchange.formats import artifact_in, recognise
from ..files.tensorfile import TensorFile
from .baking import difference
from .overlap import Layers, Overlap, layers_of, overlaps
from .request import Mix


def overlaps_of(mix: Mix) -> dict[tuple[str, str], Overlap]:
    """The overlap of every ordered pair of a mix's files, by their names. Checkpoints are told by their differences.

    Raises:
        TriptychError: a file is no change of weights, or is a checkpoint and no base is given.
    """
    if len(mix.names) < 2 or len(set(mix.names)) < len(mix.names):
        raise TriptychError("an overlap is of two or more files of different names")
    base = cache(lambda: _open(mix.base))  # opened once, if it is needed at all
    return overlaps({ingredient.path.name: _layers(ingredient.path, mix, base) for ingredient in mix.ingredients})


def _open(source: str) -> Base:
    return Place(source, device="cpu", precision="fp32").open()


def _layers(path: Path, mix: Mix, base: Callable[[], Base]) -> Layers:
    file = TensorFile.open(path)
    found = recognise(file)
    if found.kind != "checkpoint":
        return layers_of(artifact_in(file, found), path.name)
    if not mix.base:
        raise TriptychError(f"what {path.name} changes is told by the base it was made from", Remedy.NAME_BASE)
    return _of(difference(_open(str(path)), base()))


def _of(changes: Mapping[str, Tensor]) -> Layers:
    weights = (name for name in changes if name.endswith(".weight"))
    return {name.removesuffix(".weight"): partial(changes.__getitem__, name) for name in weights}
