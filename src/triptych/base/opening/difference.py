"""What separates two checkpoints of one architecture, kept small.

The best approximation of a matrix by one of low rank is its truncated singular value decomposition
(Eckart and Young, 1936).
"""

from __future__ import annotations

import torch
from torch import Tensor

UP, DOWN, WHOLE = ".up", ".down", ".whole"


def compress(before: dict[str, Tensor], after: dict[str, Tensor], rank: int) -> dict[str, Tensor]:
    """The differences after - before in half precision: matrices (a convolution is one, [out, in * kernel]) at `rank`
    as up [out, rank] and down [rank, in * kernel], vectors whole."""
    kept = {}
    for name, old in before.items():
        change = after[name].float() - old.float()
        if change.ndim < 2:
            kept[name + WHOLE] = change.half()
            continue
        u, s, vh = torch.linalg.svd(change.flatten(1), full_matrices=False)
        root = s[:rank].sqrt()
        kept[name + UP] = (u[:, :rank] * root).half().contiguous()
        kept[name + DOWN] = (root[:, None] * vh[:rank]).half().contiguous()
    return kept


def add(before: dict[str, Tensor], difference: dict[str, Tensor]) -> dict[str, Tensor]:
    """The weights that `compress` was given as `after`, as nearly as its rank allows, in the precision of `before`."""
    after = {}
    for name, old in before.items():
        if name + WHOLE in difference:
            change = difference[name + WHOLE].float()
        else:
            change = (difference[name + UP].float() @ difference[name + DOWN].float()).view(old.shape)
        after[name] = (old.float() + change).to(old.dtype)
    return after


def energy(before: dict[str, Tensor], after: dict[str, Tensor], difference: dict[str, Tensor]) -> float:
    """How much of the squared change, 0 to 1, the compressed difference keeps."""
    near = add({name: old.float() for name, old in before.items()}, difference)
    lost = sum(float((after[name].float() - near[name]).square().sum()) for name in before)
    whole = sum(float((after[name].float() - old.float()).square().sum()) for name, old in before.items())
    return 1 - lost / whole
