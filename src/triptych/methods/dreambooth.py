"""DreamBooth trains all weights of the denoiser, and the base's own pictures of the class preserve the class word.

arXiv:2208.12242, equation 2. The artifact is the difference from the base. Training updates float32 masters. The
difference is computed in float32 and stored in float16. Attaching it sets the weights to cast(base + strength x
difference); taking it off restores the pointers to the base's weights. The text encoders can train too, at a rate of
their own. The user's own pictures of the class can take the place of the base's.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import ClassVar

from ..base import Base, Owner
from ..data.examples import Examples, Source
from ..patching.patch import Tensors
from ..patching.weights import Moved, moved
from ..sampling.prior import prior_source
from ..settings import setting
from . import Depth, Method, Training

TEXT = "text"  # the group of the text encoders' weights


@dataclass(frozen=True)
class Settings(Training):
    lr: float = setting(5e-6, "learning rate of the optimiser", least=0)
    text_lr: float = setting(0.0, "learning rate of the text encoders, 0: they do not change", least=0)
    identifier: str = setting("sks", "a rare word before the class word that comes to mean the concept")
    prior_weight: float = setting(
        1.0, "weight of the loss on the base's own pictures of the class; 0: without them", least=0
    )
    prior_pictures: int = setting(32, "how many of them are drawn", least=1)


class DreamBooth(Method[Settings]):
    name: ClassVar[str] = "dreambooth"
    title = "DreamBooth"
    settings_class = Settings
    opens_at = Depth.WEIGHTS
    moves_weights = True
    takes_class_pictures = True

    def phrase(self, settings: Settings, class_word: str) -> str:
        return f"{settings.identifier} {class_word}".strip()

    def changes_text(self, settings: Settings) -> bool:
        return settings.text_lr > 0

    def rates(self, settings: Settings) -> Mapping[str, float]:
        return {TEXT: settings.text_lr} if settings.text_lr else {}

    def start(self, base: Base, settings: Settings, seed: int) -> Tensors:
        return {}

    def sources(self, base: Base, settings: Settings, examples: Examples, class_word: str) -> list[Source]:
        prior = prior_source(
            base, examples, class_word,
            pictures=settings.prior_pictures, batch=settings.batch, weight=settings.prior_weight,
        )  # fmt: skip
        return [*super().sources(base, settings, examples, class_word), *prior]

    def rows(self, settings: Settings) -> int:
        return settings.batch * (2 if settings.prior_weight else 1)

    @contextmanager
    def patch(
        self, base: Base, settings: Settings, tensors: Tensors, strength: float = 1.0, owner: Owner = None
    ) -> Iterator[Moved]:
        weights = base.denoiser.parameters()
        text = {
            f"{text.name}.{name}": weight
            for text in base.texts
            for name, weight in text.encoder.named_parameters()
            if settings.text_lr or any(own.startswith(f"{text.name}.") for own in tensors)
        }
        weights |= text
        with moved(base, self.name, weights, tensors, strength, owner, dict.fromkeys(text, TEXT)) as patch:
            yield patch
