"""Bases with random weights, and encoders to judge them: to try every command at a real size without a download.

    python -m recipes.random_base --size sd15 --out DIR    # Stable Diffusion 1.5's configuration, 1.06 billion weights
    python -m recipes.random_base --size tiny --out DIR    # what the tests use

DIR/base is the diffusers folder, DIR/base/clip the CLIP of its text encoder, DIR/dino and DIR/clip two small encoders.
The tokenizer is CLIP's at Stable Diffusion 1.5's size, and one of letters for the tiny base.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import tomli_w
import torch
from diffusers import AutoencoderKL, DDPMScheduler, UNet2DConditionModel
from transformers import (
    CLIPConfig,
    CLIPImageProcessorPil,
    CLIPModel,
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTextModelWithProjection,
    Dinov2Config,
    Dinov2Model,
)

from triptych.base import Base, Ddpm, Text, UNet, tiny_base
from triptych.base.opening.tokenizer import clip_tokenizer
from triptych.base.tiny import description

SD15_UNET: dict[str, Any] = {
    "sample_size": 64, "cross_attention_dim": 768, "block_out_channels": (320, 640, 1280, 1280), "layers_per_block": 2,
    "attention_head_dim": 8,
}  # fmt: skip
SD15_VAE: dict[str, Any] = {
    "block_out_channels": (128, 256, 512, 512), "layers_per_block": 2, "latent_channels": 4, "sample_size": 512,
    "down_block_types": ("DownEncoderBlock2D",) * 4, "up_block_types": ("UpDecoderBlock2D",) * 4,
}  # fmt: skip
SD15_TEXT: dict[str, Any] = {
    "vocab_size": 49408, "hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 12,
    "num_attention_heads": 12, "max_position_embeddings": 77, "projection_dim": 768,
}  # fmt: skip


def save_base(out: Path, size: str) -> None:
    """A diffusers folder with its CLIP: random weights of the given size, at real sizes in half precision."""
    base = tiny_base()
    if size == "tiny":
        out.mkdir(parents=True, exist_ok=True)
        (out / "triptych.toml").write_text(tomli_w.dumps(asdict(description())))
    else:
        torch.manual_seed(0)
        text = Text("text_encoder", clip_tokenizer("<|endoftext|>"), CLIPTextModel(CLIPTextConfig(**SD15_TEXT)).half())
        torch.set_default_dtype(torch.float16)
        vae, unet = AutoencoderKL(**SD15_VAE), UNet2DConditionModel(**SD15_UNET)
        torch.set_default_dtype(torch.float32)
        schedule = DDPMScheduler(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear")
        base = Base("random", (text,), vae, UNet(unet), Ddpm(schedule), description(), 512)
    save_folder(base, out)
    save_clip(base.texts[0].encoder, out / "clip", 16 if size == "tiny" else 32)


def save_folder(base: Base, out: Path) -> None:
    """A base as a diffusers folder."""
    parts = {"unet": base.denoiser.module, "vae": base.vae, "scheduler": base.process.schedule}
    for text in base.texts:
        parts |= {text.name: text.encoder, text.name.replace("text_encoder", "tokenizer"): text.tokenizer}
    for name, part in parts.items():
        part.save_pretrained(out / name)
    index = {name: [type(part).__module__.split(".")[0], type(part).__name__] for name, part in parts.items()}
    kind = "StableDiffusionPipeline" if len(base.texts) == 1 else "StableDiffusionXLPipeline"
    (out / "model_index.json").write_text(json.dumps({"_class_name": kind, **index}, indent=1))


def save_clip(text: CLIPTextModel | CLIPTextModelWithProjection, out: Path, side: int) -> None:
    """A CLIP with this text tower and a small random image tower."""
    vision = {
        "hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2,
        "patch_size": 8, "image_size": side,
    }  # fmt: skip
    model = CLIPModel(CLIPConfig(text_config=text.config.to_dict(), vision_config=vision, projection_dim=10))
    model.text_model.load_state_dict(getattr(text, "text_model", text).state_dict())
    model.save_pretrained(out)
    CLIPImageProcessorPil(size={"shortest_edge": side}, crop_size={"height": side, "width": side}).save_pretrained(out)


def save_encoders(out: Path) -> None:
    """A DINOv2 and a CLIP with tokenizer, small and random: they judge nothing, they only take part."""
    torch.manual_seed(1)
    size = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "image_size": 28, "patch_size": 14}
    Dinov2Model(Dinov2Config(**size)).save_pretrained(out / "dino")
    tiny = tiny_base(seed=1)
    save_clip(tiny.texts[0].encoder, out / "clip", 16)
    tiny.texts[0].tokenizer.save_pretrained(out / "clip")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", choices=("tiny", "sd15"), default="tiny")
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    save_base(arguments.out / "base", arguments.size)
    save_encoders(arguments.out)


if __name__ == "__main__":
    main()
