"""Repeats a training from its file: the recipe inside says how it was trained."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from ..base import Base
from ..data.concept import Concept
from ..errors import TriptychError
from ..exchange.formats import open_artifact
from ..settings import Value

PREPARED = "pictures_prepared"  # an entry of what a file was made from
WORDS = ("kind", "class_word", "token")


@dataclass(frozen=True)
class Before:
    """How a file was trained. `origin` is what it was made from."""

    path: Path
    method: str
    settings: Mapping[str, Value]
    seed: int
    words: Mapping[str, str]
    origin: Mapping[str, str]

    @classmethod
    def of(cls, path: Path) -> Before:
        """Read the recipe in a file.

        Raises:
            TriptychError: the file cannot be read, or does not say how it was trained.
        """
        artifact = open_artifact(path)
        origin = artifact.provenance
        if not {"seed", "pictures", *WORDS} <= origin.keys():
            raise TriptychError(f"{path} does not say how it was trained, so that training cannot be repeated")
        words = {name: origin[name] for name in WORDS}
        return cls(path, artifact.method, asdict(artifact.settings), int(origin["seed"]), words, origin)

    def differences(self, base: Base, concept: Concept, pictures: str = "") -> list[str]:
        """What is not as it was then, a sentence each."""
        now = {
            "the pictures": ("pictures", concept.digest), "the base": ("base_fingerprint", base.identity),
            "the resolution": ("resolution", str(base.resolution)),
            "the precision": ("precision", str(base.dtype).removeprefix("torch.")),
            "how pictures are prepared": (PREPARED, pictures or None),
        }  # fmt: skip
        changed = [what for what, (name, value) in now.items() if self.origin.get(name) != value]
        return [f"not as in the training of {self.path.name}: {what}; the result will differ" for what in changed]
