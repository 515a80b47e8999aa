"""A real Stable Diffusion model, random and very small: what every test and example can run on in milliseconds."""

from __future__ import annotations

import string
from typing import TYPE_CHECKING

import torch

from .description import Budget, Description, Drawing
from .model import Base
from .text import Text

if TYPE_CHECKING:
    from transformers import CLIPTokenizer


def tiny_base(seed: int = 0, dtype: torch.dtype = torch.float32) -> Base:
    """A base with random weights from `seed`, drawing 16 x 16 pixels.

    Its text is 12 wide and its blocks are 8 and 16, so that self- and cross-attention cannot be mistaken.
    The global random state of torch is left as it was.
    """
    from diffusers import AutoencoderKL, DDPMScheduler, UNet2DConditionModel
    from transformers import CLIPTextConfig, CLIPTextModel

    tokenizer = _letters()
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        text = CLIPTextModel(
            CLIPTextConfig(
                vocab_size=len(tokenizer),
                hidden_size=12,
                intermediate_size=24,
                num_hidden_layers=2,
                num_attention_heads=2,
                max_position_embeddings=24,
                projection_dim=12,
                bos_token_id=tokenizer.bos_token_id,
                eos_token_id=tokenizer.eos_token_id,
                pad_token_id=tokenizer.eos_token_id,
            )
        )
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
            cross_attention_dim=12,
            norm_num_groups=4,
            attention_head_dim=4,
            down_block_types=("CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
            up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D"),
        )
    for module in (text, vae, unet):
        torch.nn.Module.to(module, dtype)
    return Base("tiny", (Text("text_encoder", tokenizer, text),), vae, unet, DDPMScheduler(), description(), 16)


def description() -> Description:
    """What the tiny base says of itself."""
    return Description(
        family="tiny",
        resolution=16,
        drawing=Drawing("dpm++", steps=4, guidance=4.0),
        image_encoder="efficientnet-lite0",
        captions={"subject": "a {}", "style": "a thing, {}", "scene": "{}"},
        prompts=dict.fromkeys(("subject", "style", "scene"), ("a {}", "a red {}")),
        unrelated=("a dog", "the sun"),
        budgets={"quick": Budget(1, 1.0, 2, 2, 2, 2), "standard": Budget(2, 1.0, 2, 2, 2, 2)},
        methods={
            name: {"steps": 2, "batch": 2} for name in ("textual-inversion", "hypernetwork", "lora", "dreambooth")
        },
    )


def _letters() -> CLIPTokenizer:
    """A CLIP tokenizer whose vocabulary is letters, inside and at the end of a word."""
    from transformers import CLIPTokenizer

    letters = string.ascii_lowercase + string.digits + "<>-,"
    words = ["<|startoftext|>", "<|endoftext|>", *letters, *(letter + "</w>" for letter in letters)]
    return CLIPTokenizer(vocab={word: i for i, word in enumerate(words)}, merges=[])
