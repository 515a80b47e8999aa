"""Going on from a finished base: its autoencoder, CLIP and vocabulary are kept, its denoiser is trained further."""

from __future__ import annotations

import shutil
from pathlib import Path

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from torch import nn
from transformers import CLIPModel

from recipes.demo_base.denoiser import build_denoiser
from recipes.demo_base.fit import Plan, Progress


class _Started:
    """The denoiser's task as far as a checkpoint needs it."""

    name = "unet"

    def __init__(self, unet: nn.Module) -> None:
        self.modules = nn.ModuleDict({"unet": unet})

    def loss(self, *_: object) -> torch.Tensor:
        raise NotImplementedError


def go_on_from(base: Path, out: Path, plan: Plan) -> None:
    """Fill `out` with what the first stages would leave, and a checkpoint of the denoiser with a fresh optimiser.

    What is there already is left alone, so that a run that was stopped goes on.
    """
    if (out / "unet.checkpoint").exists():
        return
    AutoencoderKL.from_pretrained(base / "vae", torch_dtype=torch.float32).save_pretrained(out / "vae")
    CLIPModel.from_pretrained(base / "clip", dtype=torch.float32).save_pretrained(out / "clip")
    shutil.copytree(base / "tokenizer", out / "tokenizer", dirs_exist_ok=True)
    unet = build_denoiser()
    unet.load_state_dict(UNet2DConditionModel.from_pretrained(base / "unet", torch_dtype=torch.float32).state_dict())
    Progress(_Started(unet), plan).save(out / "unet.checkpoint")
    for stage in ("vae", "clip"):
        (out / f"{stage}.done").touch()
