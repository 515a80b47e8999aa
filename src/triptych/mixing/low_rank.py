"""Low-rank changes: their sum without loss, and the nearest change of a smaller rank with the energy it retains.

A change is a product B A. Sums are made of products, never of factors: [B1 B2] times [A1; A2] is B1 A1 + B2 A2, while
(B1 + B2) (A1 + A2) has B1 A2 and B2 A1 besides. The energy is the sum of squared singular values, and the nearest
change of a rank keeps the largest (Eckart and Young, 1936).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..base.opening.difference import NOTHING, nearest_of_rank


@dataclass(frozen=True)
class Factors:
    """A change B A: `a` [rank, in, ...kernel], `b` [out, rank]. `retained` and `whole` are energies."""

    a: Tensor
    b: Tensor
    retained: float = 0.0
    whole: float = 0.0

    @property
    def rank(self) -> int:
        return len(self.a)

    def leaves(self) -> dict[str, Tensor]:
        """The tensors of a layer of LoRA whose alpha is its rank."""
        kernel = [1] * (self.a.dim() - 2)
        return {"lora_A.weight": self.a.contiguous(), "lora_B.weight": self.b.reshape(*self.b.shape, *kernel)}


@dataclass(frozen=True)
class Ranks:
    """How the rank of a layer is chosen: at most `most` (0: no limit), fewer where `energy` or `ratio` say so.

    `energy` is the least share of the layer's energy that is kept. Singular values below the largest / `ratio` are
    dropped. 0 stands for neither.
    """

    most: int = 0
    energy: float = 0.0
    ratio: float = 0.0

    def of(self, squares: Tensor) -> int:
        """The rank for these squared singular values, largest first."""
        there = int((squares > NOTHING * squares[0]).sum()) if len(squares) and float(squares[0]) > 0 else 0
        count = max(there, 1)
        if self.energy and there:
            enough = (squares.cumsum(0) >= min(self.energy, 1.0) * squares.sum() * (1 - 1e-12)).nonzero()
            count = min(count, int(enough[0]) + 1 if len(enough) else count)
        if self.ratio and there:
            count = min(count, int((squares * self.ratio**2 >= squares[0]).sum()))
        return max(min(count, self.most or count), 1)

    @property
    def limits(self) -> bool:
        return bool(self.most or self.energy or self.ratio)


def summed(parts: Sequence[tuple[Tensor, Tensor, float]]) -> Factors:
    """The sum of w B A over parts (A, B, w), without loss: ranks add up.

    A is [rank, in, ...kernel] and B [out, rank, ...]. A weight goes into B alone, whatever its sign.
    """
    same = len({a.shape[1:] for a, _, _ in parts}) == 1
    a = torch.cat([(a if same else a.flatten(1)).float() for a, _, _ in parts])
    b = torch.cat([b.flatten(1).float() * weight for _, b, weight in parts], dim=1)
    return Factors(a, b)


def reduced(factors: Factors, ranks: Ranks) -> Factors:
    """The nearest change of the rank that `ranks` chooses. It never computes B A: two QR and one small SVD."""
    outer, left = torch.linalg.qr(factors.b.double())
    inner, right = torch.linalg.qr(factors.a.flatten(1).double().T)
    u, sizes, v = torch.linalg.svd(left @ right.T, full_matrices=False)
    squares = sizes.square()
    rank = ranks.of(squares)
    root = sizes[:rank].sqrt()
    a = (root[:, None] * (v[:rank] @ inner.T)).reshape(rank, *factors.a.shape[1:])
    b = outer @ u[:, :rank] * root
    return Factors(a.float(), b.float(), float(squares[:rank].sum()), float(squares.sum()))


def nearest(change: Tensor, ranks: Ranks) -> Factors:
    """The nearest low-rank change to a dense one, [out, in, ...kernel]."""
    a, b, squares = nearest_of_rank(change, min(change.flatten(1).shape))
    rank, whole = ranks.of(squares), float(change.double().square().sum())
    shaped = a[:rank].reshape(rank, *change.shape[1:])
    return Factors(shaped.float(), b[:, :rank].float(), min(float(squares[:rank].sum()), whole), whole)


@dataclass
class Retained:
    """The energies of many layers together."""

    kept: float = 0.0
    whole: float = 0.0

    def add(self, kept: float, whole: float) -> None:
        self.kept += kept
        self.whole += whole

    def sentence(self, layers: Sequence[int], what: str) -> str:
        """What a LoRA of these ranks keeps of `what`."""
        share = min(self.kept / self.whole, 1.0) if self.whole else 1.0
        ranks = f"{min(layers)}" if min(layers) == max(layers) else f"{min(layers)} to {max(layers)}"
        error = (1 - share) ** 0.5
        return f"a LoRA of rank {ranks} keeps {share:.1%} of the energy of {what} (relative error {error:.2g})"
