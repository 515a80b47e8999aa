"""The files that are judged, opened and checked: what each is, the words that call it, and its strengths."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..base import Base
from ..base.opening.identity import record_of
from ..base.opening.loading import family_of
from ..data.concept import Concept
from ..errors import OtherBaseError, TriptychError, did_you_mean
from ..exchange.artifact import Artifact
from ..exchange.formats import artifact_in, recognise
from ..exchange.inspection import inspect
from ..exchange.recipes import CONCEPTS, RECIPE
from ..files.atomic import shortened
from ..files.hashes import known_sha256
from ..files.library import sidecar
from ..files.tensorfile import TensorFile
from ..scores import Cost

Note = Callable[[str], None]
WORD = "textual-inversion"
CHECKPOINT = "checkpoint"


@dataclass(frozen=True)
class File:
    """A file to judge. `artifact` is None for a checkpoint, which is a base of its own."""

    path: Path
    name: str  # unique among the files that are judged, also in plain characters
    method: str
    says: str  # the words that name the concept in its prompts
    digest: str
    strengths: tuple[float, ...]
    artifact: Artifact | None

    @property
    def is_base(self) -> bool:
        return self.artifact is None

    def row(self, strength: float) -> str:
        """Its name in scores and folders, at one strength."""
        return f"{_plain(self.name)}@{strength:g}"

    def title(self, strength: float) -> str:
        return self.name if self.strengths == (1.0,) else f"{self.name} at {strength:g}"

    def cost(self, strength: float) -> Cost:
        """What is known of its cost: the file's size and the number of its parameters."""
        tensors = self.artifact.tensors.values() if self.artifact else ()
        attaches = self.artifact is not None and not self.artifact.kind.moves_weights
        size = sum(tensor.numel() for tensor in tensors)
        return Cost(self.row(strength), attaches, size, _bytes(self.path), steps=0, pictures_seen=0)


def open_files(
    paths: Sequence[Path], strengths: Sequence[float], says: Mapping[str, str], base: Base, concept: Concept, note: Note
) -> list[File]:
    """Open all files and check that they fit the base, before anything is sampled.

    Args:
        strengths: at which each is judged; empty: the one that its notes prefer, else 1.
        says: file, as given or by its name -> the words that call it.

    Raises:
        TriptychError: a file cannot be opened or is for another kind of base, or words are given for no file.
    """
    words, files = said_of(paths, says), list[File]()
    for path in dict.fromkeys(paths):
        taken, stem = {_plain(file.name) for file in files}, shortened(path.stem)
        names = (stem, *(f"{stem} ({i})" for i in range(2, len(paths) + 2)))
        name = next(name for name in names if _plain(name) not in taken)
        files.append(_open(path, name, strengths, words.get(path), base, concept, note))
    return files


def said_of(paths: Sequence[Path], says: Mapping[str, str]) -> dict[Path, str]:
    """The words that are given for files, each called as it is given, by its name or by its stem.

    Raises:
        TriptychError: words are given for no file.
    """
    known = {str(path): path for path in paths} | {path.name: path for path in paths} | {p.stem: p for p in paths}
    for name in says:
        if name not in known:
            raise TriptychError(f"words are given for {name!r}, which is none of the files{did_you_mean(name, known)}")
    return {known[name]: text for name, text in says.items()}


def _plain(name: str) -> str:
    return re.sub(r"[^\w.-]", "_", name)


def _open(
    path: Path, name: str, strengths: Sequence[float], said: str | None, base: Base, concept: Concept, note: Note
) -> File:
    artifact = None if path.is_dir() else _artifact(path)
    if artifact is None:
        _check_family(path, base)
        if set(strengths) - {1.0}:
            note(f"{path.name} is a checkpoint, which has no strength: it is judged as it is")
        word = said or concept.class_word
        if not said:
            note(f"{path.name} is a checkpoint that states no word: it is asked for by the class word {word!r}")
        return File(path, name, CHECKPOINT, word, _digest(path), (1.0,), None)
    wanted = tuple(strengths) or (_preferred(path, note),)
    possible = tuple(strength for strength in wanted if _applies(artifact, base, path, strength, note))
    if not possible:
        raise TriptychError(f"{path} cannot be attached at any of the strengths {', '.join(map(str, wanted))}")
    for sentence in artifact.not_used(base):
        note(sentence)
    word = said or words_of(path, artifact, concept, note)
    return File(path, name, artifact.method, word, _digest(path), possible, artifact)


def _artifact(path: Path) -> Artifact | None:
    """The artifact in a file; None for a checkpoint."""
    file = TensorFile.open(path)
    found = recognise(file)
    return None if found.kind == CHECKPOINT else artifact_in(file, found)


def _check_family(path: Path, base: Base) -> None:
    family, own = family_of(str(path)), base.description.family
    if family != own:
        raise TriptychError(f"{path} is a checkpoint of the family {family}, and the base {base.name} is of {own}")


def _applies(artifact: Artifact, base: Base, path: Path, strength: float, note: Note) -> bool:
    """Whether it can be attached at a strength. An embedding without a start word is all or nothing.

    Raises:
        TriptychError: it is for another kind of base.
    """
    try:
        artifact.not_used(base)
        with artifact.apply(base, strength):
            return True
    except OtherBaseError as error:
        raise TriptychError(f"{path} does not fit the base {base.name}: {error.detail}") from error
    except TriptychError as error:
        if strength in (0, 1):
            raise TriptychError(f"{path}: {error}", *error.remedies) from error
        note(f"{path.name} is not judged at strength {strength:g}: {error}")
        return False


def _preferred(path: Path, note: Note) -> float:
    preferred = sidecar(path).strength
    if preferred and preferred != 1:
        note(f"{path.name} is judged at strength {preferred:g}, which its notes prefer")
    return preferred or 1.0


def words_of(path: Path, artifact: Artifact, concept: Concept, note: Note) -> str:
    """The words that call a file: those of its recipe, else its trigger word before the class word."""
    if artifact.method == WORD:
        return artifact.kind.phrase(artifact.settings, concept.class_word)
    found = inspect(path)
    if artifact.provenance.get("says") and RECIPE in artifact.beside.header:
        return _stated(artifact.provenance, concept)
    trigger = next(iter((*found.triggers, *found.guesses)), "")
    phrase = phrase_of(trigger, concept)
    how = "states no word" if not trigger else f"has the trigger word {trigger!r}"
    how = f"states no word, and {trigger!r} is a tag of its training" if trigger and not found.triggers else how
    note(f"{path.name} {how}: it is asked for by {phrase!r}")
    return phrase


def _stated(provenance: Mapping[str, str], concept: Concept) -> str:
    """The words of a recipe. Of several concepts, those of the one with this class word; else of the first."""
    several = json.loads(provenance.get(CONCEPTS, "[]"))
    own = [each["says"] for each in several if each["class_word"] == concept.class_word]
    return str((own or [each["says"] for each in several] or [provenance["says"]])[0])


def phrase_of(trigger: str, concept: Concept) -> str:
    """A trigger word, followed by the class word where it does not have it."""
    word = concept.class_word
    return trigger if word.lower() in trigger.lower().split() else f"{trigger} {word}".strip()


def _digest(path: Path) -> str:
    """Identifies the content of a file, or of a folder's base, in the keys of sheets."""
    if path.is_dir():
        return record_of([path]).name[:16]
    return known_sha256(path).lower()[:16]


def _bytes(path: Path) -> int:
    inside = [file for file in path.rglob("*") if file.is_file()] if path.is_dir() else [path]
    return sum(file.stat().st_size for file in inside)
