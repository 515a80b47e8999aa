"""How much the changes of two files overlap, told from the files alone, before anything is mixed.

For each layer that both change, with dW_1 and dW_2:

- energy: |Q2^T dW_1|^2 / |dW_1|^2, where the columns of Q2 span those of dW_2: what of the first lies in the column
  space of the second.
- cosine: <dW_1, dW_2> / (|dW_1| |dW_2|).
- conflict: the share of the first's energy at places where the second has the other sign.

Over all layers they are weighted by the first's energy; layers that the second does not change count as 0.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Set
from dataclasses import dataclass
from itertools import permutations

import torch
from torch import Tensor

from ..base.opening.difference import nearest_of_rank
from ..errors import TriptychError
from ..exchange.artifact import Artifact
from .adapters import Changes

COLUMNS = 32  # of a dense difference: the column space of its largest singular values
Layers = Mapping[str, Callable[[], Tensor | None]]  # path -> dW


@dataclass(frozen=True)
class Overlap:
    """How the first file's changes meet those of the second. All but `size` are from 0 to 1, `cosine` from -1 to 1.

    `size` is the second's norm over the first's. `colliding` is the share of the first's layers that the second changes
    too.
    """

    energy: float
    cosine: float
    conflict: float
    size: float
    colliding: float

    def sentence(self, first: str, second: str) -> str:
        return (
            f"{self.energy:.0%} of the energy of {first} lies in the columns that {second} changes, signs conflict in"
            f" {self.conflict:.0%} of it, cosine {self.cosine:.2f}; {second} changes {self.colliding:.0%} of its"
            f" layers, by {self.size:.2g} times its size"
        )


def layers_of(artifact: Artifact, name: str = "") -> Layers:
    """dW of each layer of a LoRA or a difference, computed when it is called for.

    Raises:
        TriptychError: it is neither.
    """
    if artifact.kind.moves_weights:
        weights = {key: tensor for key, tensor in artifact.tensors.items() if tensor.dim() > 1}
        return {key.removesuffix(".weight"): tensor.float for key, tensor in weights.items()}
    if artifact.method != "lora":
        raise TriptychError(f"{name or artifact.method} changes no weights, so nothing of it can overlap")
    changes = Changes.of(artifact, name)
    return {path: _dense(changes, path) for path in changes.layers}


def _dense(changes: Changes, path: str) -> Callable[[], Tensor | None]:
    return lambda: changes.dense(path)


def overlaps(files: Mapping[str, Layers]) -> dict[tuple[str, str], Overlap]:
    """The overlap of every ordered pair of files, by their names. Each change is computed once.

    Raises:
        TriptychError: two files change a layer of different shapes.
    """
    sums = {pair: _Sums() for pair in permutations(files, 2)}
    whole = dict.fromkeys(files, 0.0)
    for path in dict.fromkeys(path for layers in files.values() for path in layers):
        changes = {name: change for name, layers in files.items() if (change := _matrix(layers, path)) is not None}
        columns = {name: _columns(change) for name, change in changes.items()} if len(changes) > 1 else {}
        for name, change in changes.items():
            whole[name] += float(change.square().sum())
        for a, b in permutations(changes, 2):
            if changes[a].shape != changes[b].shape:
                shapes = f"{list(changes[b].shape)} in it, and {list(changes[a].shape)} in the first"
                raise TriptychError(f"{b} does not match {a}: the layer {path} is {shapes}")
            sums[a, b].add(changes[a], changes[b], columns[b])
    return {
        (a, b): found.overlap(whole[a], whole[b], files[a].keys(), files[b].keys()) for (a, b), found in sums.items()
    }


@dataclass
class _Sums:
    """Of one ordered pair, over the layers that both change."""

    inside: float = 0.0
    product: float = 0.0
    against: float = 0.0

    def add(self, a: Tensor, b: Tensor, columns: Tensor) -> None:
        self.inside += float((columns.T @ a).square().sum())
        self.product += float((a * b).sum())
        self.against += float(a.square()[a * b < 0].sum())

    def overlap(self, first: float, second: float, mine: Set[str], others: Set[str]) -> Overlap:
        """From the energies of both files, and the layers that each changes."""
        first, second = max(first, 1e-30), max(second, 1e-30)
        cosine, size = self.product / (first * second) ** 0.5, (second / first) ** 0.5
        return Overlap(self.inside / first, cosine, self.against / first, size, len(mine & others) / len(mine))


def _matrix(layers: Layers, path: str) -> Tensor | None:
    """dW of a layer as a matrix in float64; None for a vector, or where the file does not change it."""
    change = layers[path]() if path in layers else None
    return None if change is None or change.dim() < 2 else change.flatten(1).double()


def _columns(change: Tensor) -> Tensor:
    """An orthonormal basis [out, up to COLUMNS] of the columns of a change, by its largest singular values."""
    _, b, squares = nearest_of_rank(change, COLUMNS)
    basis: Tensor = torch.linalg.qr(b[:, squares > 0]).Q
    return basis
