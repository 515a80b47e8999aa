"""Fine-tuning trains the denoiser's weights on captioned pictures, without a rare word or pictures of the class.

It is for a collection with a theme, whose captions say what each picture shows: what they name is learned under those
names. Several folders can be learned in one file. All weights train, or those of chosen blocks. The result is a
difference of weights, as DreamBooth's.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import ClassVar

from ..base import Base, Owner
from ..patching.patch import Patch, Tensors
from ..settings import setting
from . import Depth, Method, WholeTraining
from .by_lora import of_method

DREAMBOOTH = "dreambooth"


@dataclass(frozen=True)
class Settings(WholeTraining):
    lr: float = setting(1e-5, "learning rate of the optimiser", least=0)


class FineTune(Method[Settings]):
    name: ClassVar[str] = "fine-tune"
    title = "Fine-tuning"
    settings_class = Settings
    opens_at = Depth.WEIGHTS
    moves_weights = True
    files_as = DREAMBOOTH
    usual = False

    def changes_text(self, settings: Settings) -> bool:
        dreambooth, own = of_method(DREAMBOOTH, settings)
        return dreambooth.changes_text(own)

    def rates(self, settings: Settings) -> Mapping[str, float]:
        dreambooth, own = of_method(DREAMBOOTH, settings)
        return dreambooth.rates(own)

    def start(self, base: Base, settings: Settings, seed: int) -> Tensors:
        return {}

    def patch(
        self, base: Base, settings: Settings, tensors: Tensors, strength: float = 1.0, owner: Owner = None
    ) -> AbstractContextManager[Patch]:
        dreambooth, own = of_method(DREAMBOOTH, settings)
        return dreambooth.patch(base, own, tensors, strength, owner)
