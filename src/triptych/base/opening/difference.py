"""The difference between two checkpoints of one architecture, compressed to low rank.

The best low-rank approximation of a matrix is its truncated singular value decomposition (Eckart and Young, 1936).
"""

from __future__ import annotations

import torch
from torch import Tensor

UP, DOWN, WHOLE = ".up", ".down", ".whole"
NOTHING = 1e-13  # times the largest squared singular value; smaller ones are float64 rounding


def nearest_of_rank(change: Tensor, rank: int) -> tuple[Tensor, Tensor, Tensor]:
    """The nearest matrix of rank `rank` to a change of weights, as a product B A, in float64.

    It uses the eigenvectors of the smaller Gram matrix, which is many times faster than a singular value decomposition
    and as accurate for the largest values.

    Args:
        change: [out, in], or [out, in, height, width], which is read as [out, in * height * width].

    Returns:
        A [up to rank, in], B [out, up to rank], and the squares of the singular values of their product.
    """
    matrix = change.flatten(1).double()
    wide = matrix.shape[0] <= matrix.shape[1]
    squares, vectors = torch.linalg.eigh(matrix @ matrix.T if wide else matrix.T @ matrix)
    squares, vectors = squares.flip(0)[:rank].clamp(min=0), vectors.flip(1)[:, :rank]
    if wide:
        a, b = vectors.T @ matrix, vectors  # B's columns are orthonormal
    else:
        a, b = vectors.T, matrix @ vectors
    squares = squares * (squares > NOTHING * squares[0])
    size = torch.where(squares > 0, squares, 1) ** (0.25 if wide else -0.25)  # the same scale for A and B
    there = (squares > 0).double()
    return a * (there / size)[:, None], b * (there * size), squares


def compress(before: dict[str, Tensor], after: dict[str, Tensor], rank: int) -> dict[str, Tensor]:
    """The differences after - before, in half precision.

    A matrix is stored as up [out, rank] and down [rank, in * kernel]; a convolution counts as a matrix [out, in *
    kernel]. A vector is stored whole.
    """
    kept = {}
    for name, old in before.items():
        change = after[name].float() - old.float()
        if change.ndim < 2:
            kept[name + WHOLE] = change.half()
            continue
        down, up, _ = nearest_of_rank(change, rank)
        kept[name + UP], kept[name + DOWN] = up.half().contiguous(), down.half().contiguous()
    return kept


def add(before: dict[str, Tensor], difference: dict[str, Tensor]) -> dict[str, Tensor]:
    """Reconstruct the `after` of `compress`, up to its rank, in the precision of `before`."""
    after = {}
    for name, old in before.items():
        if name + WHOLE in difference:
            change = difference[name + WHOLE].float()
        else:
            change = (difference[name + UP].float() @ difference[name + DOWN].float()).view(old.shape)
        after[name] = (old.float() + change).to(old.dtype)
    return after


def energy(before: dict[str, Tensor], after: dict[str, Tensor], difference: dict[str, Tensor]) -> float:
    """The share of the squared change, 0 to 1, that the compressed difference keeps."""
    near = add({name: old.float() for name, old in before.items()}, difference)
    lost = sum(float((after[name].float() - near[name]).square().sum()) for name in before)
    whole = sum(float((after[name].float() - old.float()).square().sum()) for name, old in before.items())
    return 1 - lost / whole
