"""What the denoiser reads of prompts.

Dimensions: R rows (one a prompt), P positions, W width of hidden states.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True)
class Conditioning:
    """Prompts as the denoiser reads them, each in a row.

    Attributes:
        hidden: [R, P, W].
        pooled: [R, width of it], where the denoiser also reads one state a prompt.
        mask: [R, P], true where a position is part of the row's prompt. None: everywhere.
    """

    hidden: Tensor
    pooled: Tensor | None = None
    mask: Tensor | None = None

    def __len__(self) -> int:
        return len(self.hidden)

    def map(self, change: Callable[[Tensor], Tensor]) -> Conditioning:
        """With its states changed."""
        return Conditioning(change(self.hidden), None if self.pooled is None else change(self.pooled), self.mask)

    def rows(self, chosen: slice | Tensor) -> Conditioning:
        mask = None if self.mask is None else self.mask[chosen]
        return Conditioning(self.hidden[chosen], None if self.pooled is None else self.pooled[chosen], mask)

    def split(self, sizes: Sequence[int]) -> list[Conditioning]:
        none = [None] * len(sizes)
        pooled = none if self.pooled is None else self.pooled.split(sizes)
        mask = none if self.mask is None else self.mask.split(sizes)
        return [Conditioning(*row) for row in zip(self.hidden.split(sizes), pooled, mask, strict=True)]

    def lerp(self, other: Conditioning, weight: float) -> Conditioning:
        """(1 - weight) x this + weight x the other, which is of the same prompts."""
        pooled = None if self.pooled is None or other.pooled is None else torch.lerp(self.pooled, other.pooled, weight)
        return Conditioning(torch.lerp(self.hidden, other.hidden, weight), pooled, self.mask)

    def padded(self, positions: int) -> Conditioning:
        """With masked zeros up to so many positions."""
        missing = positions - self.hidden.shape[1]
        if not missing:
            return self
        mask = self.full_mask()
        return Conditioning(F.pad(self.hidden, (0, 0, 0, missing)), self.pooled, F.pad(mask, (0, missing)))

    def full_mask(self) -> Tensor:
        """The mask, also where there is none [R, P]."""
        if self.mask is not None:
            return self.mask
        return torch.ones(self.hidden.shape[:2], dtype=torch.bool, device=self.hidden.device)

    def unmasked(self) -> list[Tensor]:
        """The states of each row's prompt alone [its positions, W]."""
        rows = list(self.hidden)
        return rows if self.mask is None else [row[mask] for row, mask in zip(rows, self.mask, strict=True)]

    @staticmethod
    def cat(parts: Iterable[Conditioning]) -> Conditioning:
        """The rows of all of them; shorter ones are padded, and masked where they are."""
        parts = list(parts)
        longest = max(part.hidden.shape[1] for part in parts)
        parts = [part.padded(longest) for part in parts]
        pooled = [part.pooled for part in parts if part.pooled is not None]
        masked = any(part.mask is not None for part in parts)
        return Conditioning(
            torch.cat([part.hidden for part in parts]),
            torch.cat(pooled) if pooled else None,
            torch.cat([part.full_mask() for part in parts]) if masked else None,
        )
