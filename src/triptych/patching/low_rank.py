"""B A x and its gradients, with each product in the form that is fast in BLAS: the rank is the first dimension.

The usual forms, x Aᵀ and gᵀ h for the gradient of B, take two to five times as long at rank 8 on a CPU
(`python -m benchmarks.low_rank`).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


class _LowRank(torch.autograd.Function):
    """B A x for x [..., positions, in], a [..., rank, in], b [..., out, rank]; "..." is the owners, if several."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, a: Tensor, b: Tensor) -> Tensor:
        inside = a @ x.mT  # [..., rank, positions]
        ctx.save_for_backward(x, a, b, inside)
        return inside.mT @ b.mT

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, Tensor, Tensor]:
        x, a, b, inside = ctx.saved_tensors
        (gradient,) = gradients
        of_inside = b.mT @ gradient.mT
        of_x = of_inside.mT @ a if ctx.needs_input_grad[0] else None
        return of_x, of_inside @ x, (inside @ gradient).mT


def low_rank(x: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """B A x, without computing B A. Training uses it.

    Args:
        x: [..., in]; for several owners [owners, positions, in].
        a: [rank, in]; for several owners [owners, rank, in].
        b: [out, rank]; for several owners [owners, out, rank].

    Returns:
        [..., out], in the data type of `x`.
    """
    a, b = a.to(x.dtype), b.to(x.dtype)
    flat = x if a.dim() == 3 else x.reshape(-1, x.shape[-1])
    made: Tensor = _LowRank.apply(flat, a, b)  # type: ignore[no-untyped-call]
    return made.reshape(*x.shape[:-1], made.shape[-1])
