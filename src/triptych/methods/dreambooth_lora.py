"""DreamBooth-LoRA trains a LoRA as DreamBooth trains weights: with a rare word, and with prior pictures of the class.

arXiv:2208.12242 and arXiv:2106.09685. The result is a LoRA. So what the word and the prior pictures change can be told
from what the form of the weights changes.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, fields
from typing import Any, ClassVar

from ..base import Base, Owner
from ..patching.patch import Patch, Tensors
from ..settings import setting
from . import Depth, Method, PriorMethod, PriorSettings, method_named


@dataclass(frozen=True)
class Settings(PriorSettings):
    lr: float = setting(1e-4, "learning rate of AdamW", least=0)
    rank: int = setting(8, "rank of each layer's change", least=1)
    alpha: float = setting(8.0, "the change is scaled by alpha / rank", least=0)
    targets: str = setting("attention", "which layers change", choices=("attention", "attention+mlp"))


class DreamBoothLora(PriorMethod[Settings]):
    name: ClassVar[str] = "dreambooth-lora"
    title = "DreamBooth-LoRA"
    settings_class = Settings
    opens_at = Depth.LAYERS
    files_as = "lora"
    exports_as = ("kohya-lora",)
    usual = False

    def start(self, base: Base, settings: Settings, seed: int) -> Tensors:
        return _lora().start(base, _of_lora(settings), seed)

    def patch(
        self, base: Base, settings: Settings, tensors: Tensors, strength: float = 1.0, owner: Owner = None
    ) -> AbstractContextManager[Patch]:
        return _lora().patch(base, _of_lora(settings), tensors, strength, owner)

    def not_used(self, base: Base, tensors: Tensors) -> list[str]:
        return _lora().not_used(base, tensors)

    def metadata(self, settings: Settings, tensors: Tensors) -> dict[str, str]:
        return _lora().metadata(_of_lora(settings), tensors)


def _lora() -> Method[Any]:
    return method_named(DreamBoothLora.files_as)


def _of_lora(settings: Settings) -> Any:
    """The settings that a LoRA has, too."""
    names = {entry.name for entry in fields(_lora().settings_class)}
    return _lora().configure({name: value for name, value in asdict(settings).items() if name in names})
