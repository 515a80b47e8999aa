"""Finds the files that a prompt names in a library: `<lora:name:0.8>`, `<hypernet:name>`, embeddings by name."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from ..base import Owner
from ..base.blocks import block_weights, weight_of
from ..errors import Remedy, TriptychError, shown
from ..exchange.artifact import Artifact, Part
from ..exchange.formats import artifact_in, open_artifact, recognise
from ..exchange.recipes import STRENGTH
from ..exchange.word_files import bundled_embeddings
from ..files.library import Library, sidecar
from ..files.tensorfile import TensorFile
from ..patching.patch import Tensors
from ..prompt.calls import TAG, Call, Called, read_calls
from ..prompt.courses import Course, read_course
from ..prompt.numbers import number
from ..sampling.recipe import ModelFile, Used

KINDS: dict[Called, str] = {
    "lora": "lora", "hypernet": "hypernetwork", "aesthetic": "aesthetic-gradients",
}  # fmt: skip  # kind of a tag -> method of its file
WORD = "textual-inversion"


@dataclass(frozen=True)
class Attached:
    """A file attached to a picture: its parts, its entry in the picture's recipe, and how its strength goes."""

    parts: tuple[Part, ...]
    used: Used
    course: Course | None = None

    def of(self, owner: Owner) -> Attached:
        """The same for an owner's rows."""
        return replace(self, parts=tuple(replace(part, owner=owner) for part in self.parts))


@dataclass(frozen=True)
class Prompt:
    """A prompt for encoding, with the files that it names and their owner."""

    text: str
    negative: str
    owner: Owner = None
    attached: tuple[Attached, ...] = ()
    regions: tuple[Prompt, ...] = ()  # of the parts of the picture

    @property
    def uses(self) -> tuple[Used, ...]:
        return tuple(dict.fromkeys(file.used for prompt in (self, *self.regions) for file in prompt.attached))


@dataclass
class PromptReader:
    """Reads prompts and opens the files they name.

    Prompts with the same files and strengths share an owner. `note` is called with one sentence for each part of a
    prompt that is not used as in A1111.
    """

    library: Library | None
    note: Callable[[str], None]
    late: bool = False  # as of `prompt.read_schedule`
    opened: dict[tuple[Path, Call], Attached] = field(default_factory=dict)
    owned: dict[Owner, list[Attached]] = field(default_factory=dict)
    words: dict[str, Path] = field(default_factory=dict)  # the embeddings that prompts spell, by name
    kinds: dict[Path, str] = field(default_factory=dict)  # of the files whose headers were read

    def read(self, prompt: str, negative: str, edit: str = "") -> Prompt:
        """Read one prompt.

        Args:
            edit: the prompt that the picture is changed to. The files of both pictures are the same.

        Raises:
            TriptychError: there is no library, or it has no such file, or a tag is in `edit`.
        """
        if tag := TAG.search(edit):
            raise TriptychError(f"{shown(tag[0])} is in the edit, which has the files of the prompt: write it there")
        read = read_calls(prompt, self.late)
        for sentence in read.notes:
            self.note(sentence)
        for call in read_calls(negative).calls:
            self.note(f"<{call.kind}:{call.name}> in the negative prompt calls nothing: write it in the prompt")
        if self.library is None:
            if read.calls:
                raise TriptychError(f"{prompt!r} calls {read.calls[0].name!r}, and there is no library", Remedy.LIBRARY)
            return Prompt(read.text, negative)
        attached = [self._called(self.library, call) for call in read.calls]
        texts = "\n".join((read.text, negative, edit))
        attached += [self._word(name, paths) for name, paths in self._spelled(self.library, texts)]
        owner = " + ".join(repr((file.used, file.course)) for file in attached)  # "" where the prompt names no file
        if owner not in self.owned:
            self.owned[owner] = [file.of(owner) for file in _distinct(attached)]
        return Prompt(read.text, negative, owner, tuple(attached))

    @property
    def attached(self) -> list[Attached]:
        """All files that the prompts use, for each owner."""
        return [file for files in self.owned.values() for file in files]

    def _called(self, library: Library, call: Call) -> Attached:
        found = library.find(call.kind, call.name)
        path = self._first([path for path in found if self._kind(path) == KINDS[call.kind]] or found)
        if (path, call) not in self.opened:
            parts = parts_in(path, call)
            method = parts[0].artifact.method
            if method != KINDS[call.kind]:
                how, remedies = ": write its name as a word of the prompt", list[Remedy]()
                if method != WORD:
                    how, remedies = "", [Remedy.ATTACH]
                raise TriptychError(f"<{call.kind}:{call.name}> calls {path}, which is a {method}{how}", *remedies)
            if call.ranks and not any("lora_A" in name for part in parts for name in part.artifact.tensors):
                self.note(f"dyn={call.ranks} is not used: {path.name} has no plain LoRA to take ranks of")
            preferred = _preferred(path, parts[0].artifact)
            if call.text is None and preferred != 1:
                self.note(f"{path.name} is attached at strength 1, and prefers <{call.kind}:{call.name}:{preferred:g}>")
            used = Used.of(path, method, call.text, call.denoiser, blocks=call.blocks)
            self.opened[path, call] = Attached(tuple(parts), used, call.course)
        return self.opened[path, call]

    def _spelled(self, library: Library, text: str) -> list[tuple[str, list[Path]]]:
        return list(library.words(text, lambda path: self._kind(path) == WORD).items())

    def _word(self, name: str, paths: Sequence[Path]) -> Attached:
        """Open an embedding. Its word is the name of its file, not the word of its training."""
        path, call = self._first(paths), Call("lora", name)
        self.words[name] = path
        if (path, call) not in self.opened:
            artifact = open_artifact(path)
            preferred = _preferred(path, artifact)
            if preferred != 1:
                self.note(
                    f"{path.name} is a word at strength 1, and prefers to be attached as {path.name}:{preferred:g}"
                )
            renamed = replace(artifact, settings=replace(artifact.settings, token=name))
            self.opened[path, call] = Attached((Part(renamed),), Used.of(path, WORD))
        return self.opened[path, call]

    def _first(self, paths: Sequence[Path]) -> Path:
        if len(paths) > 1:
            self.note(f"{len(paths)} files are called {paths[0].stem!r}: {paths[0]} is taken, not {paths[1]}")
        return paths[0]

    def _kind(self, path: Path) -> str:
        """The kind of a file by its header; "" where it is not recognised."""
        if path not in self.kinds:
            try:
                self.kinds[path] = recognise(TensorFile.open(path)).kind
            except TriptychError:
                self.kinds[path] = ""
        return self.kinds[path]


def _distinct(attached: Iterable[Attached]) -> Iterator[Attached]:
    """All files. The embeddings bundled in a file come once, even if it is named several times."""
    seen: set[tuple[ModelFile, str]] = set()
    for file in attached:
        parts = []
        for part in file.parts:
            word = (file.used.file, part.artifact.settings.token) if part.artifact.method == WORD else None
            if word is None or word not in seen:
                parts.append(part)
            if word:
                seen.add(word)
        yield replace(file, parts=tuple(parts))


def parts_in(path: Path, call: Call) -> list[Part]:
    """Open a file as parts of a picture: its artifact, and the embeddings that a LoRA's file may bundle.

    Raises:
        TriptychError: the file is missing, of no known kind, damaged, or not safe to read.
    """
    file = TensorFile.open(path)
    artifact, words = artifact_in(file, recognise(file)), bundled_embeddings(file).values()
    return [*_by_strength(artifact, call), *(Part(word) for word in words)]


def _by_strength(artifact: Artifact, call: Call) -> list[Part]:
    """One part for each strength: those of text encoders and denoiser differ, or those of its blocks.

    Raises:
        TriptychError: there are no such block weights.
    """
    text = 1.0 if call.text is None else call.text
    denoiser = text if call.denoiser is None else call.denoiser
    if artifact.method != "lora":
        return [Part(artifact, text)]
    if call.ranks:
        artifact = _fewer_ranks(artifact, call.ranks)
    blocks = block_weights(call.blocks) if call.blocks else ()
    tensors: dict[float, Tensors] = {}  # by strength
    for name, tensor in artifact.tensors.items():
        strength = text if name.startswith("text_encoder") else denoiser
        tensors.setdefault(strength * weight_of(name, blocks) if blocks else strength, {})[name] = tensor
    return [Part(replace(artifact, tensors=own), strength) for strength, own in tensors.items()]


def _fewer_ranks(artifact: Artifact, ranks: int) -> Artifact:
    """A LoRA with its first ranks only. `lora_B` is scaled, so that each rank keeps its effect."""
    tensors = dict(artifact.tensors)
    for name, down in artifact.tensors.items():
        layer = name.removesuffix("lora_A.weight")
        up = tensors.get(f"{layer}lora_B.weight")
        if layer == name or up is None or len(down) <= ranks or f"{layer}lora_mid.weight" in tensors:
            continue
        alpha = float(tensors.get(f"{layer}alpha", artifact.settings.alpha))  # 0 stands for the number of ranks
        tensors[name] = down[:ranks]
        tensors[f"{layer}lora_B.weight"] = up[:, :ranks] * (ranks / len(down) if alpha else 1.0)
    return replace(artifact, tensors=tensors, settings=replace(artifact.settings, rank=ranks))


def _preferred(path: Path, artifact: Artifact) -> float:
    """The strength that a note beside a file prefers, or else the file itself; 1 where neither does."""
    try:
        return sidecar(path).strength or number(str(artifact.provenance.get(STRENGTH, 1)), path.name)
    except TriptychError:
        return 1.0


def attached_by(use: str, note: Callable[[str], None]) -> Attached:
    """Open a file from `FILE` or `FILE:STRENGTH`, to attach it to every picture. A strength may have a course.

    `note` is told of a strength that the file prefers, where none is given.

    Raises:
        TriptychError: the file is missing, or the strength is not a valid number.
    """
    name, colon, text = use.rpartition(":")
    stated = bool(colon) and not Path(use).exists()
    if not stated:
        name, text = use, "1"
    value, course = read_course(text, use)
    parts = parts_in(Path(name), Call("lora", name, value))
    preferred = _preferred(Path(name), parts[0].artifact)
    if not stated and preferred != 1:
        note(f"{Path(name).name} is attached at strength 1, and prefers {name}:{preferred:g}")
    written = text.strip() if course else ""
    used = Used.of(Path(name), parts[0].artifact.method, value, called=False, course=written, attached=True)
    return Attached(tuple(parts), used, course)
