"""What a UNet predicts, noise or velocity, where nothing beside its weights says so: asked of the UNet itself."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from ...errors import TriptychError, did_you_mean
from ...files.checkpoint import Prediction

if TYPE_CHECKING:
    from diffusers import UNet2DConditionModel

SAID: dict[str, Prediction] = {"epsilon": "epsilon", "v": "v_prediction", "v_prediction": "v_prediction"}
LAST = 999  # of 1000 timesteps: nearly nothing but noise
ALIKE = 0.6  # trained models: above 0.99 where noise is predicted, below 0.3 where velocity is


def prediction_named(name: str) -> Prediction:
    """What a user's word stands for.

    Raises:
        TriptychError: there is no such prediction.
    """
    if name not in SAID:
        raise TriptychError(f"there is no prediction {name!r}{did_you_mean(name, SAID)}")
    return SAID[name]


@torch.no_grad()
def asked(unet: UNet2DConditionModel) -> tuple[Prediction, float]:
    """One pass over pure noise at the last timestep.

    There the noise is the input, so a model that predicts it gives its input back; the velocity there is the picture,
    negated (arXiv:2202.00512), which has little to do with the input.

    Returns:
        The prediction, and the cosine between input and output that tells.
    """
    side = 2 ** len(unet.config.block_out_channels)
    noise = torch.randn(1, 4, side, side, generator=torch.Generator().manual_seed(0)).to(unet.device, unet.dtype)
    context = torch.zeros(1, 77, unet.config.cross_attention_dim, device=unet.device, dtype=unet.dtype)
    predicted = unet(noise, LAST, context).sample
    cosine = float(torch.cosine_similarity(predicted.float().flatten(), noise.float().flatten(), dim=0))
    return ("epsilon" if cosine > ALIKE else "v_prediction"), cosine
