"""A mix as a value: files with their weights, the way to mix them, and settings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import TriptychError, shown
from ..settings import Value, parse
from .settings import Settings

if TYPE_CHECKING:
    from ..options import Precision


@dataclass(frozen=True)
class Ingredient:
    """A file with its weight; None where the user gives none. `sha256` is stated by a recipe, else empty."""

    path: Path
    weight: float | None = None
    sha256: str = ""

    def __post_init__(self) -> None:
        if self.weight is not None and not isfinite(self.weight):
            raise TriptychError(f"the weight of {self.path} is a number, not {self.weight}")

    @classmethod
    def parse(cls, text: str) -> Ingredient:
        """Read `FILE` or `FILE:WEIGHT`.

        Raises:
            TriptychError: the weight is no number.
        """
        name, colon, number = text.rpartition(":")
        if not colon or Path(text).exists():
            return cls(Path(text))
        try:
            return cls(Path(name), float(number))
        except (ValueError, TriptychError):
            why = f"{shown(text)!r} is not of the form FILE:WEIGHT, as in a.safetensors:0.6"
            raise TriptychError(why) from None


@dataclass(frozen=True)
class Mix:
    """The user's choices. An empty value stands for the default of the files' kind.

    `base` is a file, a folder or a name of a base: what differences are taken from, or what a LoRA is for. `rank` is of
    a written LoRA, the largest one if the rank is dynamic. `vae` is a file with an autoencoder for a checkpoint.
    """

    ingredients: tuple[Ingredient, ...]
    method: str = ""
    base: str = ""
    rank: int = 0
    settings: Mapping[str, Value] = field(default_factory=dict)
    vae: str = ""
    precision: Precision = "auto"
    base_sha256: str = ""
    vae_sha256: str = ""

    def __post_init__(self) -> None:
        if not self.ingredients:
            raise TriptychError("a mix is made of files: give two or more, or a recipe")
        if self.rank < 0:
            raise TriptychError(f"a rank is 0 (all that is needed) or more, not {self.rank}")

    @property
    def parsed(self) -> Settings:
        """
        Raises:
            TriptychError: a setting is unknown, or a value does not fit.
        """
        return parse(Settings, self.settings, "merge")

    @property
    def names(self) -> list[str]:
        return [ingredient.path.name for ingredient in self.ingredients]

    def unread(self, reads: tuple[str, ...]) -> list[str]:
        """One sentence for each setting that the user gives and this way to mix does not read."""
        return [f"{name} is not used by {self.method}" for name in self.settings if name not in reads]
