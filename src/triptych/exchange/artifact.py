"""What a method learned, as a value: its tensors, its settings and where it came from."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field
from itertools import combinations
from typing import Any

from ..base import Base, Owner
from ..errors import TriptychError
from ..methods import Method, method_named, refuse
from ..patching.patch import Patch, Tensors


@dataclass(frozen=True)
class Beside:
    """What the file of an artifact holds beside it.

    `file` is its name, `header` what is written in its metadata, `words` the embeddings that a LoRA brings along, by
    name.
    """

    file: str = ""
    header: Mapping[str, str] = field(default_factory=dict)
    words: Mapping[str, Artifact] = field(default_factory=dict)


@dataclass(frozen=True)
class Artifact:
    """A trained method.

    `provenance` says what made it: base, seed, steps, digest of the pictures, the words to say. `notes` are what a user
    should know of the file it was read from, a clause each: parts that were left out.
    """

    method: str
    settings: Any
    tensors: Tensors
    provenance: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    beside: Beside = Beside()

    @property
    def kind(self) -> Method[Any]:
        return method_named(self.method)

    def apply(self, base: Base, strength: float = 1.0, owner: Owner = None) -> AbstractContextManager[Patch]:
        """Attach it to `base` for as long as the `with` block lasts."""
        refuse(self.kind, base)
        return self.kind.patch(base, self.settings, self.tensors, strength, owner)

    def not_used(self, base: Base) -> list[str]:
        """What of it, and of its file, is not used on `base`, a sentence each, with the file's name.

        Raises:
            OtherBaseError: it was made for another kind of base.
        """
        name = self.beside.file or f"this {self.method}"
        return [*self.notes, *(f"{name}: {note}" for note in self.kind.not_used(base, self.tensors))]


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
    opened as its `order` says, then in the order given. The patches are yielded in the order given.

    Raises:
        TriptychError: two parts claim the same thing on the same rows.
    """
    for a, b in combinations(parts, 2):
        claim = a.artifact.kind.claim(a.artifact.settings)
        meet = a.owner == b.owner or None in (a.owner, b.owner)
        if claim and claim == b.artifact.kind.claim(b.artifact.settings) and meet:
            raise TriptychError(f"two artifacts both hold {claim}: take one of them away")
    order = sorted(range(len(parts)), key=lambda i: _place(parts[i].artifact))
    with ExitStack() as stack:
        opened = {
            i: stack.enter_context(parts[i].artifact.apply(base, parts[i].strength, parts[i].owner)) for i in order
        }
        yield [opened[i] for i in range(len(parts))]


def _place(artifact: Artifact) -> tuple[int, str, int]:
    return artifact.kind.opens_at, artifact.method, artifact.kind.order(artifact.settings)
