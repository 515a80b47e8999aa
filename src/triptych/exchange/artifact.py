"""The result of a training as a value: its tensors, settings and provenance."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import asdict, dataclass, field, fields
from itertools import combinations
from typing import Any

from ..base import Base, Owner
from ..errors import TriptychError
from ..methods import Method, method_named, refuse
from ..patching.patch import Patch, Tensors
from ..prompt.courses import Course
from ..sampling.moves import Move

TRAINED_AS = "trained_as"  # the provenance entry of the method that trained it, where its files are another's


@dataclass(frozen=True)
class Beside:
    """Further content of an artifact's file.

    `file` is its name, `header` its metadata, `words` the embeddings that a LoRA's file bundles, by name.
    """

    file: str = ""
    header: Mapping[str, str] = field(default_factory=dict)
    words: Mapping[str, Artifact] = field(default_factory=dict)


@dataclass(frozen=True)
class Artifact:
    """A trained method.

    `provenance` has its origin: base, seed, digest of the pictures, words for prompts. `notes` has one clause for each
    part of its file that was left out.
    """

    method: str
    settings: Any
    tensors: Tensors
    provenance: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    beside: Beside = Beside()

    @classmethod
    def trained(cls, method: str, settings: Any, tensors: Tensors, provenance: Mapping[str, str]) -> Artifact:
        """The artifact of a training, as the method whose files its results are.

        Settings that only the training has go to the provenance. A word that was learned, too, is bundled.
        """
        kind = method_named(method)
        if not kind.files_as:
            return cls(method, settings, tensors, provenance)
        known, given = method_named(kind.files_as), asdict(settings)
        names = {entry.name for entry in fields(known.settings_class)}
        held = {name: value for name, value in given.items() if name in names}
        rest = {name: str(value) for name, value in given.items() if name not in names}
        words = {word: cls(*of) for word, of in kind.words(settings, tensors).items()}
        bundled = {name for word in words.values() for name in word.tensors}
        own = {name: tensor for name, tensor in tensors.items() if name not in bundled}
        origin = {**provenance, TRAINED_AS: method, **rest}
        return cls(known.name, known.configure(held), own, origin, beside=Beside(words=words))

    @property
    def kind(self) -> Method[Any]:
        return method_named(self.method)

    def apply(self, base: Base, strength: float = 1.0, owner: Owner = None) -> AbstractContextManager[Patch]:
        """Attach it to `base` for the length of a `with` block."""
        refuse(self.kind, base)
        return self.kind.patch(base, self.settings, self.tensors, strength, owner)

    def not_used(self, base: Base) -> list[str]:
        """One sentence for each part of it, or of its file, that is not used on `base`.

        Raises:
            OtherBaseError: it was made for another kind of base.
        """
        name = self.beside.file or f"this {self.method}"
        return [*self.notes, *(f"{name}: {note}" for note in self.kind.not_used(base, self.tensors))]


@dataclass(frozen=True)
class Part:
    """An artifact with the strength and the owner that it is attached with."""

    artifact: Artifact
    strength: float = 1.0
    owner: Owner = None

    @property
    def changes_text(self) -> bool:
        """Whether prompts are encoded otherwise with it."""
        inside = any(name.startswith("text_encoder") for name in self.artifact.tensors)
        return inside or self.artifact.kind.changes_text(self.artifact.settings)


def with_words(artifact: Artifact, strength: float = 1.0, owner: Owner = None) -> list[Part]:
    """An artifact and the words that its file bundles, which are read at full strength."""
    return [Part(artifact, strength, owner), *(Part(word, owner=owner) for word in artifact.beside.words.values())]


@contextmanager
def compose(base: Base, *parts: Part) -> Iterator[list[Patch]]:
    """Attach several artifacts for the length of a `with` block. They are detached in reverse, also after an error.

    Methods are attached in the order of `opens_at`, then of their names, so the order of `parts` does not matter.
    Artifacts of one method are attached by its `order`, then as given. The patches are yielded as given.

    Raises:
        TriptychError: two parts claim the same resource on the same rows.
    """
    for a, b in combinations(parts, 2):
        claim = a.artifact.kind.claim(a.artifact.settings)
        meet = a.owner == b.owner or None in (a.owner, b.owner)
        if claim and claim == b.artifact.kind.claim(b.artifact.settings) and meet:
            raise TriptychError(f"two artifacts both hold {claim}: take one of them away")
    order = sorted(range(len(parts)), key=lambda i: _sort_key(parts[i].artifact))
    with ExitStack() as stack:
        opened = {
            i: stack.enter_context(parts[i].artifact.apply(base, parts[i].strength, parts[i].owner)) for i in order
        }
        yield [opened[i] for i in range(len(parts))]


def moves_of(patches: Sequence[Patch], parts: Sequence[Part], courses: Sequence[Course | None]) -> list[Move]:
    """Those of the open patches whose strength goes over the steps, as sampling needs them."""
    return [
        Move(patch, part.strength, course, part.changes_text)
        for patch, part, course in zip(patches, parts, courses, strict=True)
        if course
    ]


def _sort_key(artifact: Artifact) -> tuple[int, str, int]:
    return artifact.kind.opens_at, artifact.method, artifact.kind.order(artifact.settings)
