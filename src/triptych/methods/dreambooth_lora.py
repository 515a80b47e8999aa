"""DreamBooth-LoRA trains a LoRA as DreamBooth trains weights: with a rare word, and with prior pictures of the class.

arXiv:2208.12242 and arXiv:2106.09685. The result is a LoRA. So what the word and the prior pictures change can be told
from what the form of the weights changes.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, fields
from typing import Any, ClassVar

from ..base import Base, Owner
from ..data.examples import Examples, Source
from ..patching.patch import Patch, Tensors
from ..sampling.prior import prior_source
from ..settings import setting
from . import Depth, Method, Training, method_named


@dataclass(frozen=True)
class Settings(Training):
    lr: float = setting(1e-4, "learning rate of AdamW", least=0)
    rank: int = setting(8, "rank of each layer's change", least=1)
    alpha: float = setting(8.0, "the change is scaled by alpha / rank", least=0)
    targets: str = setting("attention", "which layers change", choices=("attention", "attention+mlp"))
    identifier: str = setting("sks", "a rare word before the class word that comes to mean the concept")
    prior_weight: float = setting(
        1.0, "weight of the loss on the base's own pictures of the class; 0: without them", least=0
    )
    prior_pictures: int = setting(32, "how many of them are drawn", least=1)


class DreamBoothLora(Method[Settings]):
    name: ClassVar[str] = "dreambooth-lora"
    title = "DreamBooth-LoRA"
    settings_class = Settings
    opens_at = Depth.LAYERS
    files_as = "lora"
    exports_as = ("kohya-lora",)
    usual = False
    takes_class_pictures = True

    def phrase(self, settings: Settings, class_word: str) -> str:
        return f"{settings.identifier} {class_word}".strip()

    def start(self, base: Base, settings: Settings, seed: int) -> Tensors:
        return _lora().start(base, _of_lora(settings), seed)

    def sources(self, base: Base, settings: Settings, examples: Examples, class_word: str) -> list[Source]:
        prior = prior_source(
            base, examples, class_word,
            pictures=settings.prior_pictures, batch=settings.batch, weight=settings.prior_weight,
        )  # fmt: skip
        return [*super().sources(base, settings, examples, class_word), *prior]

    def rows(self, settings: Settings) -> int:
        return settings.batch * (2 if settings.prior_weight else 1)

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
