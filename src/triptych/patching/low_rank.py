"""B A x with its gradients, every product in the form that BLAS is fast at: the short side, the rank, comes first.

The usual forms, x Aᵀ and the gradient of B as gᵀ h, take two to five times as long at rank 8 on a CPU
(`python -m benchmarks.low_rank`).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


class _LowRank(torch.autograd.Function):
    """B A x; x [..., positions, in], a [..., rank, in], b [..., out, rank], all of them with one owner or several."""

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
    """B A x, never B A itself: cheap, and what training goes through.

    Args:
        x: [..., in]; of several owners [owners, positions, in].
        a: [rank, in]; of several owners [owners, rank, in].
        b: [out, rank]; of several owners [owners, out, rank].

    Returns:
        [..., out], in the type of `x`.
    """
    a, b = a.to(x.dtype), b.to(x.dtype)
    flat = x if a.dim() == 3 else x.reshape(-1, x.shape[-1])
    made: Tensor = _LowRank.apply(flat, a, b)  # type: ignore[no-untyped-call]
    return made.reshape(*x.shape[:-1], made.shape[-1])
