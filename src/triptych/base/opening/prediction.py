"""The prediction type of a UNet, noise or velocity. If no metadata states it, one forward pass finds it out."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from ...errors import TriptychError, did_you_mean
from ...files.checkpoint import Prediction

if TYPE_CHECKING:
    from diffusers import UNet2DConditionModel

SAID: dict[str, Prediction] = {"epsilon": "epsilon", "v": "v_prediction", "v_prediction": "v_prediction"}
LAST = 999  # of 1000 timesteps: almost pure noise
ALIKE = 0.6  # trained models have a cosine above 0.99 if they predict noise, below 0.3 if velocity


def prediction_named(name: str) -> Prediction:
    """The prediction type called `name`.

    Raises:
        TriptychError: there is no such prediction type.
    """
    if name not in SAID:
        raise TriptychError(f"there is no prediction {name!r}{did_you_mean(name, SAID)}")
    return SAID[name]


@torch.no_grad()
def probed(unet: UNet2DConditionModel) -> tuple[Prediction, float]:
    """Find the prediction type by one forward pass on pure noise at the last timestep.

    There a model that predicts noise returns its input. The velocity there is the negated picture (arXiv:2202.00512,
    appendix D), which hardly depends on the input.

    Returns:
        The prediction type, and the cosine between input and output.
    """
    side = 2 ** len(unet.config.block_out_channels)
    noise = torch.randn(1, 4, side, side, generator=torch.Generator().manual_seed(0)).to(unet.device, unet.dtype)
    context = torch.zeros(1, 77, unet.config.cross_attention_dim, device=unet.device, dtype=unet.dtype)
    beside = noise.new_zeros(1, unet.config.in_channels - noise.shape[1], side, side)  # what inpainting reads, too
    predicted = unet(torch.cat([noise, beside], dim=1), LAST, context).sample
    cosine = float(torch.cosine_similarity(predicted.float().flatten(), noise.float().flatten(), dim=0))
    return ("epsilon" if cosine > ALIKE else "v_prediction"), cosine
