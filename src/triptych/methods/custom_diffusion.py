"""Custom Diffusion trains what cross-attention reads of the text, and a new word, with prior pictures of the class.

arXiv:2212.04488, section 3. The keys and values of cross-attention, about 5 % of the denoiser's weights, map text to
picture, so they are all that changes of it: whole weights, not of low rank. The word stands before the class word, and
starts from a rare word. Pictures of the class keep the class word. The result is a LoRA's relative, the changes dW
themselves, whose file bundles the word.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from typing import ClassVar

import torch

from ..base import Base, Owner
from ..data.concept import Concept
from ..patching.patch import Patch, Tensors
from ..settings import setting
from . import Depth, PriorMethod, PriorSettings
from .by_lora import LORA
from .with_word import SideSettings, WithWord, start_of_word, with_word

READS_TEXT = ("attn2.to_k", "attn2.to_v")  # the keys and values of cross-attention


@dataclass(frozen=True)
class Settings(SideSettings, PriorSettings):
    lr: float = setting(1e-5, "learning rate of the keys and values", least=0)
    vectors: int = setting(1, "vectors (tokens) the word is made of", least=1)
    identifier: str = setting("sks", "the rare word that the new word starts from")
    start_word: str = setting("", "other words to start from: fox,fur,orange; empty: the identifier")


class CustomDiffusion(WithWord[Settings], PriorMethod[Settings]):
    name: ClassVar[str] = "custom-diffusion"
    title = "Custom Diffusion"
    settings_class = Settings
    opens_at = Depth.WORDS
    files_as = LORA
    exports_as = ("kohya-lora",)
    usual = False

    def refusal(self, base: Base) -> str:
        if base.denoiser.context_width:
            return ""
        return (
            "it trains what cross-attention reads of the text, and the denoiser of "
            f"{base.family.title} has none: text and picture go through the same layers; take pivotal"
        )

    def for_concept(self, settings: Settings, concept: Concept) -> Settings:
        started = settings.start_word or settings.identifier or concept.class_word
        return replace(settings, token=concept.token, start_word=started)

    def phrase(self, settings: Settings, class_word: str) -> str:
        return f"{settings.token} {class_word}".strip()

    def start(self, base: Base, settings: Settings, seed: int) -> Tensors:
        part = base.denoiser.name
        layers = {f"{part}.{path}.diff": layer.weight.shape for path, layer in base.denoiser.chosen(READS_TEXT)}
        whole = {name: torch.zeros(shape, dtype=torch.get_default_dtype()) for name, shape in layers.items()}
        return {**start_of_word(base, settings, seed), **whole}

    def patch(
        self, base: Base, settings: Settings, tensors: Tensors, strength: float = 1.0, owner: Owner = None
    ) -> AbstractContextManager[Patch]:
        return with_word(base, settings, tensors, strength, owner)
