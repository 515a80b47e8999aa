"""Dropout inside a patch. It acts in steps of training alone, and depends on the step's draw and the place alone."""

from __future__ import annotations

import torch
from torch import Tensor

from ..base import generator
from .patch import Learned


def dropped(patch: Learned, place: str, share: float, x: Tensor) -> Tensor:
    """`x` with a share of its values set to 0 and the others scaled up; `x` itself outside of training.

    The draw is made anew from the place, so a block that gradient checkpointing recomputes sees the same one.
    """
    if patch.draw is None or not torch.is_grad_enabled():
        return x
    random = generator("dropout", place, *patch.draw)
    kept = torch.rand(x.shape, generator=random, dtype=torch.float32).to(x.device) >= share
    return x * kept.to(x.dtype) / (1 - share)
