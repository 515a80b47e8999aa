"""Finds pictures that show something else than the rest of their folder, by an image encoder."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from ..data.findings import Finding

NEAREST = 3  # other pictures that a picture is compared with
FEWEST = 5  # pictures from which a stranger can be told


@dataclass(frozen=True)
class Strange:
    """When a picture is a stranger, and when pictures are too alike. Chosen by `benchmarks/junk.py`.

    Attributes:
        below: how far its cosine with the nearest others lies below the folder's median.
        spreads: how many spreads of these cosines it lies below, besides.
        below_other, spreads_other: the same for a picture of another kind, as a photograph among drawings is.
        plain: how far the plain part of such a picture is from the folder's median.
        alike: the median cosine of pairs from which a folder is too alike.
    """

    below: float = 0.24
    spreads: float = 2.2
    below_other: float = 0.14
    spreads_other: float = 0.8
    plain: float = 0.4
    alike: float = 0.97


STRANGE = Strange()


def strangers(
    names: Sequence[str], features: Tensor, plain: Sequence[float] = (), limits: Strange = STRANGE
) -> Iterator[Finding]:
    """A finding for each picture that is unlike the others, and one if all are alike.

    Args:
        features: of the pictures [n, d], rows of length 1; without copies, which would vouch for each other.
        plain: the part of each picture that has no edges, 0 to 1; empty where it is not known.
    """
    if len(names) < FEWEST:
        return
    cosines = (features @ features.T).double().numpy()
    pairs = cosines[~np.eye(len(names), dtype=bool)]
    if (middle := float(np.median(pairs))) > limits.alike:
        yield Finding(
            "alike", f"the pictures are nearly alike (cosine {middle:.2f}); vary what is around", value=middle
        )
    np.fill_diagonal(cosines, -np.inf)
    near = np.sort(cosines, axis=1)[:, -NEAREST:].mean(axis=1)
    usual = float(np.median(near))
    spread = 1.4826 * float(np.median(np.abs(near - usual)))  # a standard deviation, where it is normal
    parts = np.array(plain or [0.0] * len(names))
    other = np.abs(parts - np.median(parts)) > limits.plain
    for name, value, is_other in zip(names, near, other, strict=True):
        below, spreads = (limits.below_other, limits.spreads_other) if is_other else (limits.below, limits.spreads)
        if usual - value > max(below, spreads * spread):
            said = f"unlike the others (cosine {value:.2f} with the nearest, {usual:.2f} is usual here)"
            yield Finding("foreign", said, name, float(usual - value))
