"""Stochastic rounding to bfloat16 (arXiv:1502.02551, equation 1): up or down at random, so that the mean is the value.

A step far smaller than the distance to the next bfloat16 is lost by rounding to the nearest, each time. Rounded at
random it counts in its share of the steps.
"""

from __future__ import annotations

import torch
from torch import Tensor

LOST = 1 << 16  # a bfloat16 is the upper half of a float32


def rounded(values: Tensor, seed: int) -> Tensor:
    """float32 values rounded to bfloat16 at random. The result depends on the values and the seed alone.

    A value that bfloat16 has, and one that is not finite, stays as it is.
    """
    random = torch.Generator(values.device).manual_seed(seed)
    bits = values.contiguous().view(torch.int32)
    noise = torch.randint(0, LOST, bits.shape, generator=random, device=values.device, dtype=torch.int32)
    upper = ((bits + noise) & -LOST).view(torch.float32)
    return torch.where(values.isfinite(), upper, values).to(torch.bfloat16)
