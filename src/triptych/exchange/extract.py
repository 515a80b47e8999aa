"""A LoRA out of a difference of weights: the best change of low rank in each layer, by its singular values.

What is kept is said as energy: the sum of the squares of the singular values kept, over that of all weights, so that
what a LoRA has no place for (norms, biases, embeddings) counts as lost.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from ..base.opening.difference import nearest_of_rank
from ..errors import TriptychError


@dataclass(frozen=True)
class Extracted:
    """`tensors` by peft's names, to be used with alpha = rank; `retained` of the energy, from 0 to 1.

    `error` is the distance of the two changes over the size of the whole change, the root of what is lost.
    """

    tensors: dict[str, Tensor]
    rank: int
    retained: float
    error: float

    def __str__(self) -> str:
        return (
            f"a LoRA of rank {self.rank} keeps {self.retained:.1%} of the change's energy "
            f"(relative error {self.error:.2f})"
        )


def extract_lora(difference: Mapping[str, Tensor], rank: int, *, energy: float | None = None) -> Extracted:
    """Take the nearest LoRA out of a difference named "component.parameter"

    Linear layers become [rank, in] and [out, rank], convolutions [rank, in, height, width] and [out, rank, 1, 1],
    in float32. A layer smaller than the rank is held whole, filled up with zeros.

    Args:
        rank: of every layer; the largest, where `energy` is given.
        energy: the least rank that retains this share of the energy is taken, as far as `rank` allows.

    Raises:
        TriptychError: the rank is less than 1, or there is no change of a layer at all.
    """
    if rank < 1:
        raise TriptychError(f"a LoRA has a rank of 1 or more, not {rank}")
    layers = {name: change for name, change in difference.items() if _can_hold(name, change)}
    whole = sum(_energy(change) for change in difference.values())
    if not layers or not whole:
        raise TriptychError("there is no change of a linear or convolution layer to take a LoRA from")
    factors = {name: nearest_of_rank(change, rank) for name, change in layers.items()}
    kept = torch.stack([_filled(squares, rank) for _, _, squares in factors.values()]).sum(0).cumsum(0) / whole
    if energy is not None:
        enough = (kept >= energy).nonzero()
        rank = int(enough[0]) + 1 if len(enough) else rank
    tensors: dict[str, Tensor] = {}
    for name, (a, b, _) in factors.items():
        tensors |= _named(name, a[:rank], b[:, :rank], layers[name], rank)
    retained = min(float(kept[rank - 1]), 1.0)
    return Extracted(tensors, rank, retained, (1 - retained) ** 0.5)


def _can_hold(name: str, change: Tensor) -> bool:
    return name.endswith(".weight") and change.ndim in (2, 4) and ".embeddings." not in name


def _energy(change: Tensor) -> float:
    return float(change.double().square().sum())


def _filled(values: Tensor, length: int) -> Tensor:
    return torch.nn.functional.pad(values, (0, length - len(values)))


def _named(name: str, a: Tensor, b: Tensor, layer: Tensor, rank: int) -> dict[str, Tensor]:
    path, more = name.removesuffix(".weight"), rank - len(a)
    a, b = torch.nn.functional.pad(a, (0, 0, 0, more)), torch.nn.functional.pad(b, (0, more))
    return {
        f"{path}.lora_A.weight": a.reshape(rank, *layer.shape[1:]).float(),
        f"{path}.lora_B.weight": b.reshape(len(b), rank, *[1] * (layer.ndim - 2)).float(),
    }
