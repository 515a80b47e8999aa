"""Personalisation methods, one a file: a file dropped here is a method."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from enum import IntEnum
from functools import cache
from typing import Any, ClassVar, Generic, TypeVar

from ..base import Base, Owner, Text
from ..data.concept import Concept
from ..data.examples import Examples, Source
from ..errors import TriptychError, did_you_mean
from ..patching.patch import Patch, Tensors
from ..settings import Value, parse, setting


class Stage(IntEnum):
    """Where in a base a method acts. `compose` opens patches in this order, so the caller's order does not matter."""

    WEIGHTS = 1  # moves existing weights in place
    LAYERS = 2  # adds to what layers give
    CONTEXT = 3  # bends what layers receive
    WORDS = 4  # adds words to the vocabulary
    PROMPT = 5  # bends how a prompt is encoded


@dataclass(frozen=True)
class Training:
    """The settings of every method that the training loop trains."""

    steps: int = setting(500, "training steps", least=1)
    lr: float = setting(1e-4, "learning rate of AdamW", least=0)
    batch: int = setting(4, "pictures a step", least=1)
    schedule: str = setting("cosine", "how the learning rate goes over the steps", choices=("constant", "cosine"))
    warmup: int = setting(0, "steps over which the learning rate rises from 0", least=0)
    weight_decay: float = setting(0.0, "weight decay of AdamW", least=0)
    clip: float = setting(1.0, "greatest norm of a step's gradient", least=0)
    min_snr: float = setting(0.0, "gamma of min-SNR loss weighting (arXiv:2303.09556), 0 for none", least=0)
    fixed_every: int = setting(25, "steps between looks at the fixed-batch loss, 0 for none", least=0)
    keep: str = setting(
        "last", "the tensors that are kept: the last, or those of the lowest fixed-batch loss", choices=("last", "best")
    )
    patience: int = setting(
        0, "looks without a lower fixed-batch loss after which training stops, 0 to go on to the end", least=0
    )

    @property
    def chooses(self) -> bool:
        """Whether the fixed-batch loss decides when training ends or which moment is kept."""
        return self.keep == "best" or self.patience > 0


S = TypeVar("S")


class Method(Generic[S]):
    """One way of personalising. Its module's first docstring paragraph is its one-sentence explanation."""

    name: ClassVar[str]
    stage: ClassVar[Stage]
    settings_class: ClassVar[type]

    def for_concept(self, settings: S, concept: Concept) -> S:
        """The settings with what this concept's words fill in."""
        return settings

    def phrase(self, settings: S, class_word: str) -> str:
        """How a prompt names the concept to this method."""
        return class_word

    def phrase_tokens(self, text: Text, settings: S, class_word: str) -> int:
        """How many tokens of a prompt `phrase` takes in one text encoder."""
        return len(text.spell([self.phrase(settings, class_word)])[0])

    def start(self, base: Base, settings: S, seed: int) -> Tensors:
        """First tensors: where training starts, from this seed alone."""
        raise NotImplementedError

    def compute(self, base: Base, settings: S, examples: Examples) -> Tensors | None:
        """The tensors, for a method that needs no gradient descent; None sends it to the training loop."""
        return None

    def sources(self, base: Base, settings: S, examples: Examples, class_word: str) -> list[Source]:
        """What the loop trains on; by default the pictures, named by `phrase`."""
        prompts = examples.prompts(self.phrase(settings, class_word))
        return [Source("instance", examples.latents, prompts, settings.batch)]  # type: ignore[attr-defined]

    def patch(
        self, base: Base, settings: S, tensors: Tensors, strength: float = 1.0, owner: Owner = None
    ) -> AbstractContextManager[Patch]:
        """Open the change on `base`, for the owner's rows.

        Raises:
            TriptychError: the tensors were made for another kind of base, or the strength has no meaning.
        """
        raise NotImplementedError

    def claim(self, settings: S) -> str | None:
        """What only one artifact may hold on the same rows."""
        return None

    def metadata(self, settings: S) -> dict[str, str]:
        """What readers of other tools expect in the metadata of the file, beside the recipe."""
        return {}

    def configure(self, *layers: Mapping[str, Value]) -> S:
        """Settings from several layers of values, the later ones winning."""
        merged = {name: value for layer in layers for name, value in layer.items()}
        settings: S = parse(self.settings_class, merged, self.name)
        return settings

    @property
    def explanation(self) -> str:
        """The first paragraph of the method's file."""
        text = importlib.import_module(type(self).__module__).__doc__ or ""
        return " ".join(text.strip().split("\n\n")[0].split())


_METHODS: dict[str, Method[Any]] = {}


def method(cls: type[Method[Any]]) -> type[Method[Any]]:
    """Class decorator: registers the method under its name."""
    if cls.name in _METHODS:
        raise ValueError(f"two methods are called {cls.name!r}")
    _METHODS[cls.name] = cls()
    return cls


@cache
def _discover() -> None:
    """Every module in `methods/` is a method: dropping a file there is all it takes."""
    for module in pkgutil.iter_modules(__path__):
        importlib.import_module(f"{__name__}.{module.name}")


def methods() -> Mapping[str, Method[Any]]:
    """All methods by name."""
    _discover()
    return _METHODS


def method_named(name: str) -> Method[Any]:
    """
    Raises:
        TriptychError: there is none of that name.
    """
    if name not in methods():
        raise TriptychError(f"there is no method {name!r}{did_you_mean(name, methods())}")
    return methods()[name]
