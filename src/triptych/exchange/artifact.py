"""What a method learned, as a value: its tensors, its settings and where it came from; kept as one safetensors file."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import asdict, dataclass, field
from itertools import combinations
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from ..base import Base, Owner
from ..errors import TriptychError
from ..methods import Method, method_named
from ..patching.patch import Patch, Tensors
from .metadata import metadata_of, write_safetensors

RECIPE = "triptych"  # the metadata entry that holds the recipe, as JSON
OWN = "triptych"  # the name of our own layout of the tensors: by their canonical names
SCHEMA = 1


@dataclass(frozen=True)
class Artifact:
    """A trained method. `provenance` says what made it: base, seed, steps, digest of the pictures, the words to say."""

    method: str
    settings: Any
    tensors: Tensors
    provenance: Mapping[str, str] = field(default_factory=dict)

    @property
    def kind(self) -> Method[Any]:
        return method_named(self.method)

    def apply(self, base: Base, strength: float = 1.0, owner: Owner = None) -> AbstractContextManager[Patch]:
        """Attach it to `base` for as long as the `with` block lasts."""
        return self.kind.patch(base, self.settings, self.tensors, strength, owner)

    def recipe(self, layout: str = OWN) -> str:
        """Everything but the tensors, as JSON: the metadata entry `triptych` of a file with this layout of tensors."""
        told = {"schema": SCHEMA, "layout": layout, "method": self.method, "settings": asdict(self.settings)}
        return json.dumps({**told, **self.provenance})

    def save(self, path: Path, thumbnail: Path | None = None) -> None:
        """Write it whole or not at all, with a small picture in its metadata if one is given.

        Raises:
            TriptychError: the place cannot be written, or the thumbnail is not a picture.
        """
        told = metadata_of(self, path.stem, thumbnail)
        write_safetensors(path, self.tensors, {**told, RECIPE: self.recipe(), **self.kind.metadata(self.settings)})

    @classmethod
    def open(cls, path: Path) -> Artifact:
        """Read a file of our own layout.

        Raises:
            TriptychError: no such file, not an artifact of triptych, or its tensors are not finite numbers.
        """
        if not path.is_file():
            raise TriptychError(f"there is no file {path}")
        try:
            with safe_open(path, framework="pt") as file:
                metadata = file.metadata() or {}
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        except (SafetensorError, OSError) as error:
            raise TriptychError(f"{path} is not a safetensors file: {error}") from error
        for name, tensor in tensors.items():
            if not tensor.isfinite().all():
                raise TriptychError(f"{path} is damaged: its tensor {name} holds values that are not finite numbers")
        if RECIPE not in metadata:
            raise TriptychError(f"{path} was not made by triptych: open it with triptych.load")
        return cls.from_recipe(path, metadata[RECIPE], tensors)

    @classmethod
    def from_recipe(cls, path: Path, text: str, tensors: Tensors) -> Artifact:
        """The artifact of a file's recipe and its tensors by their canonical names.

        Raises:
            TriptychError: the recipe cannot be read.
        """
        try:
            recipe = json.loads(text)
            name, settings = recipe.pop("method"), recipe.pop("settings")
            recipe.pop("layout", None)
            if recipe.pop("schema") != SCHEMA:
                raise TriptychError(f"{path} was made by a newer triptych; update to attach it")
        except (json.JSONDecodeError, KeyError, AttributeError) as error:
            raise TriptychError(f"the recipe inside {path} cannot be read: {error}") from error
        return cls(name, method_named(name).configure(settings), tensors, recipe)


@dataclass(frozen=True)
class Part:
    """An artifact as one picture uses it."""

    artifact: Artifact
    strength: float = 1.0
    owner: Owner = None


@contextmanager
def compose(base: Base, *parts: Part) -> Iterator[list[Patch]]:
    """Open several artifacts at once; closing undoes them in reverse, also after an error.

    They are opened by depth and name, so different methods come out the same in any order; several of one method are
    opened in the order given. The patches are yielded in the order given.

    Raises:
        TriptychError: two parts claim the same thing on the same rows.
    """
    for a, b in combinations(parts, 2):
        claim = a.artifact.kind.claim(a.artifact.settings)
        meet = a.owner == b.owner or None in (a.owner, b.owner)
        if claim and claim == b.artifact.kind.claim(b.artifact.settings) and meet:
            raise TriptychError(f"two artifacts both hold {claim}: take one of them away")
    order = sorted(range(len(parts)), key=lambda i: (parts[i].artifact.kind.opens_at, parts[i].artifact.method))
    with ExitStack() as stack:
        opened = {
            i: stack.enter_context(parts[i].artifact.apply(base, parts[i].strength, parts[i].owner)) for i in order
        }
        yield [opened[i] for i in range(len(parts))]
