"""The conditioning of the denoiser: encoded prompts.

Dimensions: R rows (one per prompt), P positions, W width of the hidden states, Q width of the pooled states, L layers
of cross-attention.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

Mix = Callable[[Tensor, Tensor, float], Tensor]  # of two states by a weight


@dataclass(frozen=True)
class Conditioning:
    """Encoded prompts as the denoiser reads them, one per row.

    Attributes:
        hidden: hidden states [R, P, W].
        pooled: one state per prompt [R, Q]; None if the denoiser does not read it.
        mask: [R, P], true where a position belongs to the row's prompt. None: all positions do.
        layers: hidden states of each layer's own [R, L, P, W], where they differ between layers; else None.
    """

    hidden: Tensor
    pooled: Tensor | None = None
    mask: Tensor | None = None
    layers: Tensor | None = None

    def __len__(self) -> int:
        return len(self.hidden)

    def map(self, change: Callable[[Tensor], Tensor]) -> Conditioning:
        """The same with `change` applied to its states."""
        pooled, layers = (None if states is None else change(states) for states in (self.pooled, self.layers))
        return Conditioning(change(self.hidden), pooled, self.mask, layers)

    def rows(self, chosen: slice | Tensor) -> Conditioning:
        pooled, mask, layers = (
            None if states is None else states[chosen] for states in (self.pooled, self.mask, self.layers)
        )
        return Conditioning(self.hidden[chosen], pooled, mask, layers)

    def split(self, sizes: Sequence[int]) -> list[Conditioning]:
        none = [None] * len(sizes)
        others = (none if states is None else states.split(sizes) for states in (self.pooled, self.mask, self.layers))
        return [Conditioning(*row) for row in zip(self.hidden.split(sizes), *others, strict=True)]

    def mixed(self, other: Conditioning, weight: float, mix: Mix = torch.lerp) -> Conditioning:
        """Between self at weight 0 and other at weight 1, both of the same prompts; by default on a straight line."""
        pooled = None if self.pooled is None or other.pooled is None else mix(self.pooled, other.pooled, weight)
        layers = None
        if self.layers is not None or other.layers is not None:
            count = next(side.layers.shape[1] for side in (self, other) if side.layers is not None)
            layers = mix(self.of_layers(count), other.of_layers(count), weight)
        return Conditioning(mix(self.hidden, other.hidden, weight), pooled, self.mask, layers)

    def padded(self, positions: int) -> Conditioning:
        """The same, padded with masked zeros to `positions`."""
        missing = positions - self.hidden.shape[1]
        if not missing:
            return self
        mask = self.full_mask()
        layers = None if self.layers is None else F.pad(self.layers, (0, 0, 0, missing))
        return Conditioning(F.pad(self.hidden, (0, 0, 0, missing)), self.pooled, F.pad(mask, (0, missing)), layers)

    def of_layers(self, count: int) -> Tensor:
        """The hidden states of each layer [R, count, P, W]; the same for all of them if none has its own."""
        return self.hidden.unsqueeze(1).expand(-1, count, -1, -1) if self.layers is None else self.layers

    def full_mask(self) -> Tensor:
        """The mask [R, P]; all true if there is none."""
        if self.mask is not None:
            return self.mask
        return torch.ones(self.hidden.shape[:2], dtype=torch.bool, device=self.hidden.device)

    def unmasked(self) -> list[Tensor]:
        """The hidden states of each row without padding [positions of the prompt, W]."""
        rows = list(self.hidden)
        return rows if self.mask is None else [row[mask] for row, mask in zip(rows, self.mask, strict=True)]

    @staticmethod
    def cat(parts: Iterable[Conditioning]) -> Conditioning:
        """Concatenate rows. Shorter parts are padded, and their padding is masked."""
        parts = list(parts)
        longest = max(part.hidden.shape[1] for part in parts)
        parts = [part.padded(longest) for part in parts]
        pooled = [part.pooled for part in parts if part.pooled is not None]
        masked = any(part.mask is not None for part in parts)
        counts = {part.layers.shape[1] for part in parts if part.layers is not None}
        return Conditioning(
            torch.cat([part.hidden for part in parts]),
            torch.cat(pooled) if pooled else None,
            torch.cat([part.full_mask() for part in parts]) if masked else None,
            torch.cat([part.of_layers(max(counts)) for part in parts]) if counts else None,
        )
