"""The first tensors of a layer's adapter, by algorithm. They change nothing yet, and depend on `random` alone."""

from __future__ import annotations

import math
from collections.abc import Callable
from math import prod

import torch
from torch import Tensor

Start = Callable[[Tensor, int, torch.Generator], dict[str, Tensor]]


def lora(weight: Tensor, rank: int, random: torch.Generator) -> dict[str, Tensor]:
    """A is uniform in +-1 / sqrt(in), like the weight of a linear layer; B is zero."""
    inputs = weight.shape[1:]
    a = _uniform(torch.Size([rank, *inputs]), prod(inputs), random)
    return {"lora_A.weight": a, "lora_B.weight": torch.zeros(len(weight), rank, *[1] * (len(inputs) - 1))}


def dora(weight: Tensor, rank: int, random: torch.Generator) -> dict[str, Tensor]:
    """LoRA, and the norm of W over its outputs for each input (arXiv:2402.09353, equation 5)."""
    others = [axis for axis in range(weight.dim()) if axis != 1]
    size = torch.linalg.vector_norm(weight.detach().float().cpu(), dim=others, keepdim=True)
    return {**lora(weight, rank, random), "dora_scale": size}


def loha(weight: Tensor, rank: int, random: torch.Generator) -> dict[str, Tensor]:
    """Normal, of LyCORIS's spreads; the second product is zero."""
    inputs = prod(weight.shape[1:])
    return {
        "hada_w1_a": 0.1 * _normal(len(weight), rank, random), "hada_w1_b": _normal(rank, inputs, random),
        "hada_w2_a": torch.zeros(len(weight), rank), "hada_w2_b": _normal(rank, inputs, random),
    }  # fmt: skip


def lokr(weight: Tensor, rank: int, random: torch.Generator) -> dict[str, Tensor]:
    """The first factor is whole, about the root of the sizes; the second is of low rank, or whole if small."""
    outputs, inputs, kernel = len(weight), weight.shape[1], prod(weight.shape[2:])
    (o1, o2), (i1, i2) = _factors(outputs), _factors(inputs)
    first = {"lokr_w1": _uniform(torch.Size([o1, i1]), i1, random)}
    if rank >= max(o2, i2) / 2:
        return {**first, "lokr_w2": torch.zeros(o2, i2, *weight.shape[2:])}
    columns = torch.Size([rank, i2 * kernel])
    return {**first, "lokr_w2_a": torch.zeros(o2, rank), "lokr_w2_b": _uniform(columns, i2 * kernel, random)}


def ia3(weight: Tensor, rank: int, random: torch.Generator) -> dict[str, Tensor]:
    """One factor for each output of the layer. It has no rank, and nothing random."""
    return {"weight": torch.zeros(len(weight), *[1] * (weight.dim() - 1)), "on_input": torch.tensor(False)}


def oft(weight: Tensor, rank: int, random: torch.Generator) -> dict[str, Tensor]:
    """A rotation of each block of outputs, at rest. A block has at most `rank` outputs; nothing is random."""
    size = next(size for size in range(min(rank, len(weight)), 0, -1) if len(weight) % size == 0)
    return {"oft_blocks": torch.zeros(len(weight) // size, size, size)}


STARTS: dict[str, Start] = {"lora": lora, "dora": dora, "loha": loha, "lokr": lokr, "ia3": ia3, "oft": oft}
UNSCALED = ("ia3", "oft")  # they have no rank that alpha could scale by
FROZEN = ("alpha", "on_input")  # leaves that are not trained


def _factors(size: int) -> tuple[int, int]:
    """Two factors of a size, as near to each other as can be, the smaller one first."""
    smaller = next(factor for factor in range(int(size**0.5), 0, -1) if size % factor == 0)
    return smaller, size // smaller


def _uniform(shape: torch.Size, inputs: int, random: torch.Generator) -> Tensor:
    drawn = torch.rand(shape, generator=random, dtype=torch.get_default_dtype())
    return (2 * drawn - 1) / math.sqrt(inputs)


def _normal(rows: int, columns: int, random: torch.Generator) -> Tensor:
    return torch.randn(rows, columns, generator=random, dtype=torch.get_default_dtype())
