"""Extracts a LoRA from a difference of weights: the best low-rank change of each layer, by singular values.

The retained energy is the sum of squares of the kept singular values over that of the whole difference. Norms, biases
and embeddings, which a LoRA cannot hold, count as lost.
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
    """An extracted LoRA. `tensors` have peft's names and need alpha = rank.

    `retained` is the share of energy that is kept, from 0 to 1. `error` is the norm of the lost part over the norm of
    the difference: sqrt(1 - retained).
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
    """Extract the nearest LoRA from a difference with names "component.parameter".

    Linear layers become [rank, in] and [out, rank], convolutions [rank, in, height, width] and [out, rank, 1, 1],
    in float32. A layer smaller than the rank is kept whole and padded with zeros.

    Args:
        rank: of every layer; the largest rank where `energy` is given.
        energy: take the smallest rank, up to `rank`, that retains this share of the energy.

    Raises:
        TriptychError: the rank is less than 1, or no linear or convolution layer changes.
    """
    if rank < 1:
        raise TriptychError(f"a LoRA has a rank of 1 or more, not {rank}")
    layers = {name: change for name, change in difference.items() if can_hold(name, change)}
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


def in_files(path: str) -> str:
    """The path of a layer as LoRA files have it, with `text_model`, which transformers 5 left out of some encoders."""
    part, _, inner = path.partition(".")
    inside = part.startswith("text_encoder") and not inner.startswith(("text_model.", "text_projection"))
    return f"{part}.text_model.{inner}" if inside else path


def can_hold(name: str, change: Tensor) -> bool:
    """Whether a LoRA can hold a change of this weight, which is that of a linear layer or a convolution.

    Args:
        name: "component.parameter".
        change: [out, in, ...kernel] of such a layer.
    """
    return name.endswith(".weight") and change.ndim in (2, 4) and ".embeddings." not in name


def _energy(change: Tensor) -> float:
    return float(change.double().square().sum())


def _filled(values: Tensor, length: int) -> Tensor:
    return torch.nn.functional.pad(values, (0, length - len(values)))


def _named(name: str, a: Tensor, b: Tensor, layer: Tensor, rank: int) -> dict[str, Tensor]:
    path, more = in_files(name.removesuffix(".weight")), rank - len(a)
    a, b = torch.nn.functional.pad(a, (0, 0, 0, more)), torch.nn.functional.pad(b, (0, more))
    return {
        f"{path}.lora_A.weight": a.reshape(rank, *layer.shape[1:]).float(),
        f"{path}.lora_B.weight": b.reshape(len(b), rank, *[1] * (layer.ndim - 2)).float(),
    }
