"""A very small diffusion model with random weights. Tests run on it in milliseconds."""

from __future__ import annotations

import string
from typing import TYPE_CHECKING, Any, Literal

import torch

from .chat import ChatText
from .denoiser import Denoiser, UNet, ZImage
from .description import Budget, Description, Population, Sampling
from .model import Base
from .process import Ddpm, Flow, Process
from .text import Text

if TYPE_CHECKING:
    from diffusers import AutoencoderKL
    from transformers import CLIPTextConfig, CLIPTokenizer, Qwen2Tokenizer

Kind = Literal["sd1", "sd2", "sdxl", "zimage"]

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
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        texts, vae, denoiser, process = _zimage() if kind == "zimage" else _stable_diffusion(kind)
    for module in (*(text.encoder for text in texts), vae, denoiser.module):
        torch.nn.Module.to(module, dtype)
    return Base("tiny", texts, vae, denoiser, process, description(), 16)


Parts = tuple[tuple[Text, ...], "AutoencoderKL", Denoiser, Process]


def _stable_diffusion(kind: Kind) -> Parts:
    from diffusers import DDPMScheduler, UNet2DConditionModel
    from transformers import CLIPTextModel, CLIPTextModelWithProjection

    tokenizer = _letters("a" if kind == "sd2" else "<|endoftext|>")
    texts = [Text("text_encoder", tokenizer, CLIPTextModel(_text_config(tokenizer, 12)))]
    if kind == "sdxl":
        second = _letters("a")
        encoder = CLIPTextModelWithProjection(_text_config(second, 20))
        texts = [
            Text("text_encoder", tokenizer, texts[0].encoder, "clip_l", penultimate=True),
            Text("text_encoder_2", second, encoder, "clip_g", penultimate=True),
        ]
    vae = _autoencoder()
    unet = UNet2DConditionModel(
        sample_size=8,
        block_out_channels=(8, 16),
        layers_per_block=1,
        norm_num_groups=4,
        down_block_types=("CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D"),
        **UNETS[kind],
    )
    schedule = DDPMScheduler(prediction_type="v_prediction" if kind == "sd2" else "epsilon")
    return tuple(texts), vae, UNet(unet), Ddpm(schedule)


def _zimage() -> Parts:
    from diffusers import FlowMatchEulerDiscreteScheduler, ZImageTransformer2DModel
    from transformers import Qwen3Config, Qwen3Model

    tokenizer = _bytes()
    config = Qwen3Config(
        vocab_size=len(tokenizer),
        hidden_size=12,
        intermediate_size=24,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=6,
        max_position_embeddings=64,
        pad_token_id=tokenizer.pad_token_id,
    )
    text = ChatText("text_encoder", tokenizer, Qwen3Model(config), "qwen3_4b", penultimate=True, room=22)
    transformer = ZImageTransformer2DModel(
        in_channels=4,
        dim=24,
        n_layers=2,
        n_refiner_layers=1,
        n_heads=2,
        n_kv_heads=2,
        cap_feat_dim=12,
        axes_dims=[4, 4, 4],
        axes_lens=[128, 16, 16],
    )
    vae = _autoencoder(scaling_factor=0.36, shift_factor=0.12)
    return (text,), vae, ZImage(transformer), Flow(FlowMatchEulerDiscreteScheduler(shift=3.0))


def _autoencoder(**scale: float) -> AutoencoderKL:
    from diffusers import AutoencoderKL

    return AutoencoderKL(
        block_out_channels=(8, 8),
        layers_per_block=1,
        latent_channels=4,
        norm_num_groups=4,
        sample_size=16,
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        **scale,
    )


def description() -> Description:
    """The defaults of the tiny base."""
    return Description(
        family="tiny",
        resolution=16,
        sampling=Sampling("dpm++", steps=4, guidance=4.0),
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
        budgets={
            "quick": Budget(1, 1.0, 2, 2, 2, 2),
            "standard": Budget(2, 1.0, 2, 2, 2, 2, strengths=(0.5, 1.0), moments=(0.5,), choosing=2),
        },
        methods={
            name: {"steps": 2, "batch": 2}
            for name in ("textual-inversion", "hypernetwork", "lora", "dreambooth", "dreambooth-lora")
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


def _bytes() -> Qwen2Tokenizer:
    """A Qwen tokenizer whose vocabulary is letters."""
    from transformers import Qwen2Tokenizer

    letters = string.ascii_letters + string.digits + "<>-,.|_\u0120\u010a"  # the last two stand for space and newline
    words = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", *letters]
    tokenizer = Qwen2Tokenizer(vocab={word: i for i, word in enumerate(words)}, merges=[])
    tokenizer.add_special_tokens({"additional_special_tokens": words[1:3]})
    return tokenizer
