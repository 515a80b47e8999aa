"""Repeats a training from its file: the recipe inside says how it was trained."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from ..errors import TriptychError
from ..exchange.artifact import TRAINED_AS
from ..exchange.recipes import CONCEPTS, RECIPE, read_recipe
from ..files.tensorfile import TensorFile
from ..methods import method_named
from ..settings import Value

PREPARED = "pictures_prepared"  # an entry of what a file was made from
WORDS = ("kind", "class_word", "token")
ATTACHED, HASHES = "trained_on", "trained_on_sha256"  # the files that were attached: names with strengths, and hashes
CLASS_PICTURES = "class_pictures"  # the digest of the user's own pictures of the class
SAME = {
    "pictures": "the pictures", "base_fingerprint": "the base", "resolution": "the resolution",
    "precision": "the precision", PREPARED: "how pictures are prepared",
}  # fmt: skip


@dataclass(frozen=True)
class Before:
    """How a file was trained. `words` are those of its concepts, `origin` is what it was made from."""

    path: Path
    method: str
    settings: Mapping[str, Value]
    seed: int
    words: Sequence[Mapping[str, str]]
    origin: Mapping[str, str]

    @classmethod
    def of(cls, path: Path) -> Before:
        """Read the recipe in a file, with the settings as they were given, whatever the file's layout makes of them.

        Raises:
            TriptychError: the file cannot be read, or does not say how it was trained.
        """
        recipe = TensorFile.open(path).metadata.get(RECIPE)
        method, given, origin = read_recipe(path, recipe) if recipe else ("", {}, {})
        if not {"seed", "pictures", *WORDS} <= origin.keys():
            raise TriptychError(f"{path} does not say how it was trained, so that training cannot be repeated")
        if TRAINED_AS in origin:  # its file is another method's, and settings that only it has are in the origin
            method = origin[TRAINED_AS]
            names = {entry.name for entry in fields(method_named(method).settings_class)}
            given = {name: value for name, value in {**given, **origin}.items() if name in names}
        settings = asdict(method_named(method).configure(given))
        concepts = json.loads(origin[CONCEPTS]) if CONCEPTS in origin else [origin]
        words = [{name: concept[name] for name in WORDS} for concept in concepts]
        return cls(path, method, settings, int(origin["seed"]), words, origin)

    def differences(self, now: Mapping[str, str]) -> list[str]:
        """What is not as it was then, a sentence each. `now` is the provenance of the training that repeats it."""
        then, said = self.origin, f"not as in the training of {self.path.name}"
        found = [what for name, what in SAME.items() if then.get(name) != now.get(name)]
        stated = then if HASHES in then or ATTACHED not in then else now  # an older file states no hashes
        if (then.get(ATTACHED), stated.get(HASHES)) != (now.get(ATTACHED), now.get(HASHES)):
            hashes = f" (SHA-256 {then[HASHES]})" if then.get(HASHES) else ""
            was = f"with {then[ATTACHED]}{hashes}" if ATTACHED in then else "with nothing"
            found.append(f"the attached files, since it was trained {was}")
        if then.get(CLASS_PICTURES) != now.get(CLASS_PICTURES):
            was = "the user's own" if CLASS_PICTURES in then else "the base's own"
            found.append(f"the pictures of the class, which were {was}")
        return [f"{said}: {what}; the result will differ" for what in found]
