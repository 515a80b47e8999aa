"""The first tensors of a layer's adapter, by algorithm. They change nothing yet, and depend on `random` alone.

LoRA can start from the weight's own factors B0 A0 (`WEIGHT_FACTORS`). The change is then s (B A - B0 A0), s = alpha /
rank. Training it is training B A beside the frozen weight W - s B0 A0, to the same gradients, but W stays as it is.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from math import prod

import torch
from torch import Tensor

from .adapters import FIRST

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
FROZEN = ("alpha", "on_input", *FIRST)  # leaves that are not trained


def principal(weight: Tensor, rank: int, scale: float, random: torch.Generator) -> tuple[Tensor, Tensor]:
    """PiSSA (arXiv:2404.02948, equations 2 and 3): s B0 A0 are the greatest components of W, shared by their roots.

    By randomised subspace iteration (arXiv:0909.4061, algorithm 4.4), which takes a fraction of the time of a whole
    decomposition. What it misses of a component stays in the frozen part, so training is exact all the same.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int(torch.randint(2**62, (), generator=random)))
        u, s, v = torch.svd_lowrank(weight, q=min(rank + MORE, *weight.shape), niter=ITERATIONS)
    roots = (s[:rank] / scale).sqrt()
    return roots.unsqueeze(1) * v[:, :rank].T, u[:, :rank] * roots


def orthonormal(weight: Tensor, rank: int, scale: float, random: torch.Generator) -> tuple[Tensor, Tensor]:
    """OLoRA (arXiv:2406.01775, section 3): B0 are the first columns of Q, and A0 the first rows of R, of W = Q R."""
    q, r = torch.linalg.qr(weight)
    return r[:rank], q[:, :rank]


MORE, ITERATIONS = 8, 16  # of the subspace iteration: further components, and rounds
WEIGHT_FACTORS: dict[str, Callable[[Tensor, int, float, torch.Generator], tuple[Tensor, Tensor]]] = {
    "pissa": principal, "olora": orthonormal,
}  # fmt: skip


def from_weight(
    name: str, weight: Tensor, leaves: Mapping[str, Tensor], scale: float, random: torch.Generator
) -> dict[str, Tensor]:
    """LoRA's first tensors from a weight's own factors, in `WEIGHT_FACTORS`.

    A rank above that of the weight is left as LoRA's `leaves` have it.
    """
    a, b = (leaves[name].clone() for name in ("lora_A.weight", "lora_B.weight"))
    matrix = weight.detach().cpu().to(a.dtype).flatten(1)
    down, up = WEIGHT_FACTORS[name](matrix, len(a), scale, random)
    a[: len(down)] = down.reshape(-1, *a.shape[1:])
    b[:, : len(down)] = up.reshape(len(b), -1, *b.shape[2:])
    return {"lora_A.weight": a, "lora_B.weight": b, **dict(zip(FIRST, (a.clone(), b.clone()), strict=True))}


def _factors(size: int) -> tuple[int, int]:
    """Two factors of a size, as near to each other as can be, the smaller one first."""
    smaller = next(factor for factor in range(int(size**0.5), 0, -1) if size % factor == 0)
    return smaller, size // smaller


def _uniform(shape: torch.Size, inputs: int, random: torch.Generator) -> Tensor:
    drawn = torch.rand(shape, generator=random, dtype=torch.get_default_dtype())
    return (2 * drawn - 1) / math.sqrt(inputs)


def _normal(rows: int, columns: int, random: torch.Generator) -> Tensor:
    return torch.randn(rows, columns, generator=random, dtype=torch.get_default_dtype())
