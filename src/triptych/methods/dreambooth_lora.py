"""DreamBooth-LoRA trains a LoRA as DreamBooth trains weights: with a rare word, and with prior pictures of the class.

arXiv:2208.12242 and arXiv:2106.09685. The result is a LoRA. So what the word and the prior pictures change can be told
from what the form of the weights changes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ..base import Base
from ..patching.patch import Tensors
from ..settings import setting
from . import Depth, PriorMethod, PriorSettings
from .by_lora import LORA, ByLora, of_method


@dataclass(frozen=True)
class Settings(PriorSettings):
    lr: float = setting(1e-4, "learning rate of AdamW", least=0)
    rank: int = setting(8, "rank of each layer's change", least=1)
    alpha: float = setting(8.0, "the change is scaled by alpha / rank", least=0)
    targets: str = setting("attention", "which layers change", choices=("attention", "attention+mlp"))


class DreamBoothLora(ByLora[Settings], PriorMethod[Settings]):
    name: ClassVar[str] = "dreambooth-lora"
    title = "DreamBooth-LoRA"
    settings_class = Settings
    opens_at = Depth.LAYERS
    exports_as = ("kohya-lora",)
    usual = False

    def start(self, base: Base, settings: Settings, seed: int) -> Tensors:
        lora, own = of_method(LORA, settings)
        return lora.start(base, own, seed)

    def metadata(self, settings: Settings, tensors: Tensors) -> dict[str, str]:
        lora, own = of_method(LORA, settings)
        return lora.metadata(own, tensors)
