"""The parts of the formulas that drop values: trimming, dropping at random, and electing signs."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def trim(change: Tensor, density: float) -> Tensor:
    """Keep the share `density` of the values, those of largest magnitude, at least one; the rest is 0.

    Values as large as the smallest that is kept are kept too.
    """
    count = change.numel()
    kept = min(max(round(density * count), 1), count)
    if not count or kept == count:
        return change
    least = change.abs().flatten().kthvalue(count - kept + 1).values
    return torch.where(change.abs() >= least, change, 0.0)


def elected_mean(changes: Sequence[Tensor], weights: Sequence[float]) -> Tensor:
    """The weighted mean over those changes whose sign is that of the weighted sum; 0 where none is.

    With equal weights it is the disjoint mean of TIES (arXiv:2306.01708, algorithm 1).
    """
    weighted = [change * weight for change, weight in zip(changes, weights, strict=True)]
    sign = torch.sign(sum(weighted[1:], weighted[0]))
    total, counted = torch.zeros_like(sign), torch.zeros_like(sign)
    for change, weight in zip(weighted, weights, strict=True):
        agrees = (torch.sign(change) == sign) & (change != 0)
        total += change * agrees
        counted += abs(weight) * agrees
    return total / torch.where(counted > 0, counted, 1)


def drop_at_random(change: Tensor, rate: float, random: torch.Generator) -> Tensor:
    """Set each value to 0 with probability `rate`, and divide the others by 1 - rate, so that the mean stays."""
    kept = torch.rand(change.shape, generator=random) >= rate
    return change * kept / (1 - rate)


def drop_by_size(change: Tensor, rate: float, window: float, random: torch.Generator) -> Tensor:
    """Set values to 0 with a probability that falls with their rank by magnitude, and rescale each of the others.

    The probability is rate + window / 2 for the smallest value and about rate - window / 2 for the largest.
    """
    count = max(change.numel(), 1)
    rank = torch.empty(count)
    rank[change.abs().flatten().argsort(stable=True)] = torch.arange(change.numel(), dtype=torch.float32)
    rates = (rate + window / 2 - window * rank / count).clamp(0, 1 - 1e-6).reshape(change.shape)
    kept = torch.rand(change.shape, generator=random) >= rates
    return change * kept / (1 - rates)
