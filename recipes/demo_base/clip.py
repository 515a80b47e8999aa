"""Second stage: a CLIP of the world. Its text tower becomes the base's text encoder.

Radford et al. (2021), "Learning Transferable Visual Models From Natural Language Supervision".
"""

from __future__ import annotations

import math

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import CLIPConfig, CLIPModel, CLIPTokenizer

from recipes.demo_base.compose import Composer, to_tensor
from recipes.demo_base.fleet import half_where_fast
from recipes.demo_base.words import POSITIONS

WIDTH = 192
"""Width of the text states: unlike every block width of the denoiser, as hypernetworks tell layers apart by width."""

SHARPEST = math.log(100)
"""Upper end of the learned logarithm of the inverse temperature, as in the paper."""


def build_clip(tokenizer: CLIPTokenizer) -> CLIPModel:
    """Both towers, four layers each; the image tower looks at 8 x 8 patches of 8 pixels."""
    tower = {"hidden_size": WIDTH, "intermediate_size": 4 * WIDTH, "num_hidden_layers": 4, "num_attention_heads": 6}
    text = tower | {
        "vocab_size": len(tokenizer),
        "max_position_embeddings": POSITIONS,
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }
    vision = tower | {"image_size": 64, "patch_size": 8}
    return CLIPModel(CLIPConfig(text_config=text, vision_config=vision, projection_dim=128))


def token_ids(tokenizer: CLIPTokenizer, captions: list[str], *, full: bool = True) -> Tensor:
    """Captions to ids [batch, positions]; not `full`: padded to the longest only."""
    padding = "max_length" if full else "longest"
    ids: Tensor = tokenizer(
        captions, padding=padding, truncation=True, max_length=POSITIONS, return_tensors="pt"
    ).input_ids
    return ids


class ClipTask:
    """Match pictures and captions within a batch."""

    name = "clip"

    def __init__(self, composer: Composer, tokenizer: CLIPTokenizer, device: torch.device, batch: int) -> None:
        self.composer, self.tokenizer, self.device, self.batch = composer, tokenizer, device, batch
        self.clip = build_clip(tokenizer).to(device)
        if device.type == "cpu":
            self.clip.set_attn_implementation("eager")  # the same result, in two thirds of the time
        self.modules = nn.ModuleDict({"clip": self.clip})

    def loss(self, rng: np.random.Generator, noise: torch.Generator) -> Tensor:
        """The symmetric cross entropy of the paper's figure 3."""
        scenes = [self.composer.choose(rng) for _ in range(self.batch)]
        pictures = to_tensor([self.composer.picture(scene, rng) for scene in scenes]).to(self.device)
        captions = [self.composer.caption(scene, rng) for scene in scenes]
        # What follows a caption's end cannot reach the state at its end (the text tower only looks back).
        ids = token_ids(self.tokenizer, captions, full=False).to(self.device)
        with torch.no_grad():
            self.clip.logit_scale.clamp_(max=SHARPEST)
        with half_where_fast(self.device):
            logits = self.clip(input_ids=ids, pixel_values=pictures).logits_per_image.float()
        pairs = torch.arange(self.batch, device=self.device)
        return (F.cross_entropy(logits, pairs) + F.cross_entropy(logits.T, pairs)) / 2
