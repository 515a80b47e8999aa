"""DreamBooth trains all weights of the denoiser, and the base's own pictures of the class preserve the class word.

arXiv:2208.12242, equation 2. The artifact is the difference from the base. Training updates float32 masters, or what
`masters` says. The difference is computed in float32 and stored in float16. Attaching it sets the weights to cast(base
+ strength x difference); taking it off restores the pointers to the base's weights. The text encoders can train too, at
a rate of their own; of the denoiser, chosen blocks alone. The user's own pictures of the class can take the place of
the base's.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import ClassVar

from torch import nn

from ..base import Base, Owner
from ..errors import TriptychError
from ..patching.patch import Tensors
from ..patching.weights import Moved, moved
from ..settings import setting
from . import Depth, PriorMethod, PriorSettings, WholeTraining

TEXT = "text"  # the group of the text encoders' weights


@dataclass(frozen=True)
class Settings(WholeTraining, PriorSettings):
    lr: float = setting(5e-6, "learning rate of the optimiser", least=0)


class DreamBooth(PriorMethod[Settings]):
    name: ClassVar[str] = "dreambooth"
    title = "DreamBooth"
    settings_class = Settings
    opens_at = Depth.WEIGHTS
    moves_weights = True

    def changes_text(self, settings: Settings) -> bool:
        return settings.text_lr > 0

    def rates(self, settings: Settings) -> Mapping[str, float]:
        return {TEXT: settings.text_lr} if settings.text_lr else {}

    def start(self, base: Base, settings: Settings, seed: int) -> Tensors:
        return {}

    @contextmanager
    def patch(
        self, base: Base, settings: Settings, tensors: Tensors, strength: float = 1.0, owner: Owner = None
    ) -> Iterator[Moved]:
        weights = _chosen(base.denoiser.parameters(), settings.blocks)
        text = {
            f"{text.name}.{name}": weight
            for text in base.texts
            for name, weight in text.encoder.named_parameters()
            if settings.text_lr or any(own.startswith(f"{text.name}.") for own in tensors)
        }
        weights |= text
        groups = dict.fromkeys(text, TEXT)
        with moved(base, self.name, weights, tensors, strength, owner, groups, settings.masters) as patch:
            yield patch


def _chosen(weights: Mapping[str, nn.Parameter], blocks: str) -> dict[str, nn.Parameter]:
    """The weights whose names contain the pattern.

    Raises:
        TriptychError: there are none, or it is not a regular expression.
    """
    try:
        found = {name: weight for name, weight in weights.items() if re.search(blocks, name)}
    except re.error as error:
        raise TriptychError(f"blocks: {blocks!r} is not a regular expression: {error}") from error
    if not found:
        raise TriptychError(f"blocks: no weight of the denoiser has a name that contains {blocks!r}")
    return found
