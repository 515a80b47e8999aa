"""The noise that a picture begins with: from its seed, on the CPU, so that every device gives the same.

Dimensions: C channels, H height and W width of the latents.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ..base import generator

Shape = tuple[int, int, int]
PARALLEL = 0.9995  # cosine beyond which two vectors are mixed in a straight line


def noise_of(
    random: torch.Generator, seed: int, shape: Shape, variation: int | None = None, strength: float = 0.0,
    resized: Shape | None = None,
) -> Tensor:  # fmt: skip
    """Standard normal noise [C, H, W].

    Args:
        random: the picture's own generator, which goes on to the sampler.
        seed: of the picture.
        variation: the seed of the noise that is mixed in.
        strength: how much of it, from 0 (none) to 1 (it alone).
        resized: [C, H, W] at which noise is drawn; it lies in the middle of noise of the whole shape, so that a picture
            of another size looks alike.
    """
    noise = torch.randn(resized or shape, generator=random)
    if variation is not None and strength:
        other = torch.randn(resized or shape, generator=generator("draw", variation))
        noise = slerp(noise, other, strength)
    if resized is None or resized == shape:
        return noise
    canvas = torch.randn(shape, generator=generator("draw", seed))
    (y, from_y, height), (x, from_x, width) = (_middle(shape[i], resized[i]) for i in (1, 2))
    canvas[:, y : y + height, x : x + width] = noise[:, from_y : from_y + height, from_x : from_x + width]
    return canvas


def _middle(side: int, other: int) -> tuple[int, int, int]:
    """Where a line of length `other` lies in the middle of one of length `side`: begin, first of it, and how much."""
    return max(side - other, 0) // 2, max(other - side, 0) // 2, min(side, other)


def slerp(first: Tensor, other: Tensor, share: float, dim: int | None = None) -> Tensor:
    """The point at `share` of the great circle from one to the other. At 0 and 1 bit for bit theirs.

    (Shoemake 1985, "Animating rotation with quaternion curves".) A straight line would have too little variance.

    Args:
        dim: along which each vector lies; None: a tensor is one vector.
    """
    if share in (0, 1):
        return other if share else first
    dims, keep = tuple(range(first.dim())) if dim is None else (dim,), dim is not None
    one, two = (torch.linalg.vector_norm(vector, dim=dims, keepdim=keep) for vector in (first, other))
    cosine = (first * other).sum(dims, keep) / (one * two)
    angle = torch.acos(cosine)
    arc = (torch.sin((1 - share) * angle) * first + torch.sin(share * angle) * other) / torch.sin(angle)
    return torch.where(cosine.abs() > PARALLEL, torch.lerp(first, other, share), arc)
