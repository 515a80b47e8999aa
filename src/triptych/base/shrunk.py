"""A UNet whose coarse layers see large pictures at the size that they know (HiDiffusion, arXiv:2311.17528).

A picture that is larger than those of a base's training has features of the usual size in pixels, which are too small
in it, so that the coarse layers put things into things. RAU-Net (section 3.2) changes the size of the feature maps
once on the way down and once on the way up: the finest level is as large as the picture, all others are as usual.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from .hooks import hooked

Given = tuple[tuple[Any, ...], dict[str, Any]]


@contextmanager
def shrunk(module: Any, factor: float) -> Iterator[None]:
    """Inside the `with` block, all levels of diffusers' UNet but the finest are smaller by a factor.

    A UNet with one level stays as it is.
    """

    def down(layer: nn.Module, inputs: tuple[Any, ...], given: dict[str, Any]) -> Given:
        hidden = given["hidden_states"]
        height, width = (max(1, round(side / factor)) for side in hidden.shape[-2:])
        return inputs, {**given, "hidden_states": _sized(hidden, (height, width))}

    def up(layer: nn.Module, inputs: tuple[Any, ...], given: dict[str, Any]) -> Given:
        """What comes from below, and from the other side, have one size: that of the level."""
        beside = given["res_hidden_states_tuple"]
        size = beside[-1].shape[-2:]
        hidden, skips = _sized(given["hidden_states"], size), tuple(_sized(own, size) for own in beside)
        return inputs, {**given, "hidden_states": hidden, "res_hidden_states_tuple": skips}

    changed = [*((block, down) for block in module.down_blocks[1:2]), *((block, up) for block in module.up_blocks)]
    with hooked(block.register_forward_pre_hook(change, with_kwargs=True) for block, change in changed):
        yield


def _sized(hidden: Tensor, size: tuple[int, ...]) -> Tensor:
    """Feature maps [rows, channels, height, width] at another height and width."""
    return hidden if hidden.shape[-2:] == size else F.interpolate(hidden, size, mode="bilinear")
