"""What a prompt calls from a library: `<lora:name:0.8>`, `<hypernet:name>`, and embeddings by their names."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from ..base import Owner
from ..errors import TriptychError
from ..exchange.artifact import Artifact, Part
from ..exchange.formats import artifact_in, recognise
from ..exchange.word_files import bundled_embeddings
from ..files.library import Library, calls, sidecar
from ..files.tensorfile import TensorFile


@dataclass
class Caller:
    """Reads prompts; prompts that call the same files with the same strengths share them, and their owner."""

    library: Library | None
    opened: dict[tuple[Path, tuple[float, ...]], list[Part]] = field(default_factory=dict)
    parts: dict[Owner, list[Part]] = field(default_factory=dict)

    def read(self, prompt: str, negative: str) -> tuple[str, Owner]:
        """The prompt without its calls, and the owner of what it calls.

        Raises:
            TriptychError: there is no library to call from, or it has no such file.
        """
        text, named = calls(prompt)
        if self.library is None:
            if named:
                raise TriptychError(f"{prompt!r} calls {named[0].name!r}: say where that file lies by --library DIR")
            return prompt, None
        found: dict[str, list[Part]] = {}
        for one in named:
            path = self.library.find(one.kind, one.name)
            strengths = one.strengths or (sidecar(path).strength or 1.0,)
            found[f"{path}:{strengths}"] = self._parts(path, strengths)
        for word, path in self.library.words(f"{text}\n{negative}").items():
            (part,) = self._parts(path, (1.0,))
            renamed = replace(part.artifact.settings, token=word)
            found[str(path)] = [Part(replace(part.artifact, settings=renamed))]
        owner = " + ".join(found)  # a prompt that calls nothing has an owner too: that of nothing
        self.parts.setdefault(owner, [replace(part, owner=owner) for parts in found.values() for part in parts])
        return text, owner

    def _parts(self, path: Path, strengths: tuple[float, ...]) -> list[Part]:
        if (path, strengths) not in self.opened:
            self.opened[path, strengths] = parts_in(path, strengths)
        return self.opened[path, strengths]


def parts_in(path: Path, strengths: Sequence[float]) -> list[Part]:
    """A file as parts of a picture: what it holds, and the words that a LoRA's file may bring along.

    Raises:
        TriptychError: there is none, it is of no known kind, damaged, or not safe to read.
    """
    file = TensorFile.open(path)
    artifact, words = artifact_in(file, recognise(file)), bundled_embeddings(file).values()
    return [*_halves(artifact, strengths), *(Part(word) for word in words)]


def _halves(artifact: Artifact, strengths: Sequence[float]) -> list[Part]:
    """One strength for all of it, or two: for the text encoders, and for the denoiser."""
    if len(strengths) == 1 or artifact.method != "lora":
        return [Part(artifact, strengths[0])]
    text = {name: tensor for name, tensor in artifact.tensors.items() if name.startswith("text_encoder")}
    rest = {name: tensor for name, tensor in artifact.tensors.items() if name not in text}
    halves = zip((text, rest), strengths[:2], strict=True)
    return [Part(replace(artifact, tensors=tensors), strength) for tensors, strength in halves if tensors]
