"""How much the changes of two files overlap, told from the files alone, before anything is mixed.

For each layer that both change, with dW_1 and dW_2:

- energy: |Q2^T dW_1|^2 / |dW_1|^2, where the columns of Q2 span those of dW_2: what of the first lies in the column
  space of the second.
- cosine: <dW_1, dW_2> / (|dW_1| |dW_2|).
- conflict: the share of the first's energy at places where the second has the other sign.

Over all layers they are weighted by the first's energy; layers that the second does not change count as 0.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

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


def overlap(first: Layers, second: Layers) -> Overlap:
    """How the changes of `first` meet those of `second`."""
    whole = other = inside = product = against = 0.0
    for path, change in first.items():
        a = change()
        if a is None or a.dim() < 2:
            continue
        a = a.flatten(1).double()
        energy = float(a.square().sum())
        whole += energy
        b = second[path]() if path in second else None
        if b is None or not energy:
            continue
        b = b.flatten(1).double()
        inside += float((_columns(b).T @ a).square().sum())
        product += float((a * b).sum())
        against += float(a.square()[a * b < 0].sum())
    other = sum(_energy(change()) for change in second.values())
    shared = len(first.keys() & second.keys())
    whole, other = max(whole, 1e-30), max(other, 1e-30)
    return Overlap(
        inside / whole, product / (whole * other) ** 0.5, against / whole, (other / whole) ** 0.5, shared / len(first)
    )


def _energy(change: Tensor | None) -> float:
    return 0.0 if change is None or change.dim() < 2 else float(change.double().square().sum())


def _columns(change: Tensor) -> Tensor:
    """An orthonormal basis [out, up to COLUMNS] of the columns of a change, by its largest singular values."""
    _, b, squares = nearest_of_rank(change, COLUMNS)
    basis: Tensor = torch.linalg.qr(b[:, squares > 0]).Q
    return basis


def all_overlaps(files: Iterable[tuple[str, Artifact]]) -> dict[tuple[str, str], Overlap]:
    """The overlap of every ordered pair of files, by their names."""
    known = {name: layers_of(artifact, name) for name, artifact in files}
    return {(a, b): overlap(known[a], known[b]) for a in known for b in known if a != b}
