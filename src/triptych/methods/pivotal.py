"""Pivotal tuning learns a new word and a LoRA together, in one loss.

Pivotal tuning of a picture's latent code (arXiv:2106.05744) was carried over to diffusion models as a word and low-rank
changes of the layers. The two patches are those of textual inversion and LoRA. The word has a learning rate of its own
and may end before the LoRA (`word_until`), which then trains around it.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import ClassVar

from ..base import Base, Owner
from ..patching.adapter_starts import STARTS
from ..patching.patch import Patch, Tensors
from ..settings import setting
from . import Depth, Method
from .by_lora import LORA, of_method
from .with_word import SideSettings, WithWord, start_of_word, with_word


@dataclass(frozen=True)
class Settings(SideSettings):
    lr: float = setting(1e-4, "learning rate of the LoRA", least=0)
    word_until: float = setting(0.5, "share of the steps after which the word is not trained any more", least=0, most=1)
    algorithm: str = setting("lora", "the form of each layer's change", choices=tuple(STARTS))
    rank: int = setting(8, "rank of each layer's change", least=1)
    alpha: float = setting(8.0, "the change is scaled by alpha / rank", least=0)
    targets: str = setting("attention", "which layers change", choices=("attention", "attention+mlp"))
    blocks: str = setting("", "a pattern that the path of a layer must contain, such as 'mid_block|up_blocks.1'")
    text_lr: float = setting(0.0, "learning rate of LoRA on the text encoders, 0: there is none", least=0)
    dropout: float = setting(
        0.0, "share of each layer's input that a training step hides from the change", least=0, most=0.99
    )


class Pivotal(WithWord[Settings], Method[Settings]):
    name: ClassVar[str] = "pivotal"
    title = "Pivotal tuning"
    settings_class = Settings
    opens_at = Depth.WORDS
    files_as = LORA
    exports_as = ("kohya-lora",)
    usual = False

    def rates(self, settings: Settings) -> Mapping[str, float]:
        lora, own = of_method(LORA, settings)
        return {**super().rates(settings), **lora.rates(own)}

    def start(self, base: Base, settings: Settings, seed: int) -> Tensors:
        lora, own = of_method(LORA, settings)
        return {**start_of_word(base, settings, seed), **lora.start(base, own, seed)}

    def patch(
        self, base: Base, settings: Settings, tensors: Tensors, strength: float = 1.0, owner: Owner = None
    ) -> AbstractContextManager[Patch]:
        return with_word(base, settings, tensors, strength, owner)
