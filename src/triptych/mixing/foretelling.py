"""What can be told of a mix from its files alone: how their changes overlap, pair by pair."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

from torch import Tensor

from ..base import Place
from ..errors import Remedy, TriptychError
from ..exchange.formats import artifact_in, recognise
from ..files.tensorfile import TensorFile
from .baking import difference
from .overlap import Layers, Overlap, layers_of, overlap
from .request import Mix


def overlaps(mix: Mix) -> dict[tuple[str, str], Overlap]:
    """The overlap of every ordered pair of a mix's files, by their names. Checkpoints are told by their differences.

    Raises:
        TriptychError: a file is no change of weights, or is a checkpoint and no base is given.
    """
    known = {ingredient.path.name: _layers(mix, i) for i, ingredient in enumerate(mix.ingredients)}
    if len(known) < 2:
        raise TriptychError("an overlap is of two or more files of different names")
    return {(a, b): overlap(known[a], known[b]) for a in known for b in known if a != b}


def _layers(mix: Mix, place: int) -> Layers:
    path = mix.ingredients[place].path
    file = TensorFile.open(path)
    found = recognise(file)
    if found.kind != "checkpoint":
        return layers_of(artifact_in(file, found), path.name)
    if not mix.base:
        raise TriptychError(f"what {path.name} changes is told by the base it was made from", Remedy.NAME_BASE)
    after, before = (Place(source, device="cpu", precision="fp32").open() for source in (str(path), mix.base))
    return _of(difference(after, before))


def _of(changes: Mapping[str, Tensor]) -> Layers:
    weights = (name for name in changes if name.endswith(".weight"))
    return {name.removesuffix(".weight"): partial(changes.__getitem__, name) for name in weights}
