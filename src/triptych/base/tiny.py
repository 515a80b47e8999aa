"""A very small Stable Diffusion model with random weights. Tests run on it in milliseconds."""

from __future__ import annotations

import string
from typing import TYPE_CHECKING, Any, Literal

import torch

from .denoiser import UNet
from .description import Budget, Description, Drawing, Population
from .model import Base
from .process import Ddpm
from .text import Text

if TYPE_CHECKING:
    from transformers import CLIPTextConfig, CLIPTokenizer

Kind = Literal["sd1", "sd2", "sdxl"]

UNETS: dict[Kind, dict[str, Any]] = {
    "sd1": {"cross_attention_dim": 12, "attention_head_dim": 4},
    "sd2": {"cross_attention_dim": 12, "attention_head_dim": [2, 4], "use_linear_projection": True},
    "sdxl": {
        "cross_attention_dim": 12 + 20, "attention_head_dim": [2, 4], "use_linear_projection": True,
        "transformer_layers_per_block": [1, 2], "addition_embed_type": "text_time", "addition_time_embed_dim": 4,
        "projection_class_embeddings_input_dim": 10 + 6 * 4,
    },
}  # fmt: skip


def tiny_base(seed: int = 0, dtype: torch.dtype = torch.float32, kind: Kind = "sd1") -> Base:
    """A base of 16 x 16 pixels with random weights from `seed` and the structure of the family `kind`.

    Text has width 12 (SDXL's second encoder 20) and blocks have 8 and 16 channels, so that self- and cross-attention
    cannot be confused. torch's global random state is not changed.
    """
    from diffusers import AutoencoderKL, DDPMScheduler, UNet2DConditionModel
    from transformers import CLIPTextModel, CLIPTextModelWithProjection

    with torch.random.fork_rng():
        torch.manual_seed(seed)
        tokenizer = _letters("a" if kind == "sd2" else "<|endoftext|>")
        texts = [Text("text_encoder", tokenizer, CLIPTextModel(_text_config(tokenizer, 12)))]
        if kind == "sdxl":
            second = _letters("a")
            encoder = CLIPTextModelWithProjection(_text_config(second, 20))
            texts = [
                Text("text_encoder", tokenizer, texts[0].encoder, "clip_l", penultimate=True),
                Text("text_encoder_2", second, encoder, "clip_g", penultimate=True),
            ]
        vae = AutoencoderKL(
            block_out_channels=(8, 8),
            layers_per_block=1,
            latent_channels=4,
            norm_num_groups=4,
            sample_size=16,
            down_block_types=("DownEncoderBlock2D",) * 2,
            up_block_types=("UpDecoderBlock2D",) * 2,
        )
        unet = UNet2DConditionModel(
            sample_size=8,
            block_out_channels=(8, 16),
            layers_per_block=1,
            norm_num_groups=4,
            down_block_types=("CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
            up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D"),
            **UNETS[kind],
        )
    for module in (*(text.encoder for text in texts), vae, unet):
        torch.nn.Module.to(module, dtype)
    schedule = DDPMScheduler(prediction_type="v_prediction" if kind == "sd2" else "epsilon")
    return Base("tiny", tuple(texts), vae, UNet(unet), Ddpm(schedule), description(), 16)


def description() -> Description:
    """The defaults of the tiny base."""
    return Description(
        family="tiny",
        resolution=16,
        drawing=Drawing("dpm++", steps=4, guidance=4.0),
        image_encoder="efficientnet-lite0",
        captions={"subject": "a {}", "style": "a thing, {}", "scene": "{}"},
        population=Population(
            {
                **{kind: {"plain": "a {}", "coloured": "a {colour} {}"} for kind in ("subject", "style", "scene")},
                "unrelated": {"plain": "a {thing}"},
            },
            {"colour": ("red", "green"), "thing": ("dog", "sun", "house")},
        ),
        tuning_prompts=dict.fromkeys(("subject", "style", "scene"), ("a blue {}", "a large {}")),
        budgets={"quick": Budget(1, 1.0, 2, 2, 2, 2), "standard": Budget(2, 1.0, 2, 2, 2, 2)},
        methods={
            name: {"steps": 2, "batch": 2} for name in ("textual-inversion", "hypernetwork", "lora", "dreambooth")
        },
    )


def _text_config(tokenizer: CLIPTokenizer, width: int) -> CLIPTextConfig:
    from transformers import CLIPTextConfig

    return CLIPTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=width,
        intermediate_size=2 * width,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=24,
        projection_dim=10 if width == 20 else width,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )


def _letters(pad: str) -> CLIPTokenizer:
    """A CLIP tokenizer whose vocabulary is single letters, inside and at the end of a word."""
    from transformers import CLIPTokenizer

    letters = string.ascii_lowercase + string.digits + "<>-,"
    words = ["<|startoftext|>", "<|endoftext|>", *letters, *(letter + "</w>" for letter in letters)]
    return CLIPTokenizer(vocab={word: i for i, word in enumerate(words)}, merges=[], pad_token=pad)
