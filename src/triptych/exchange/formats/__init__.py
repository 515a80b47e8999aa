"""File formats of personalisation, one a file, found by being in this folder; what they hold becomes an `Artifact`.

Importing a format needs no torch, so that `triptych inspect` answers at once: what reads or writes tensors imports what
it needs inside its functions.
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from ...errors import Remedy, TriptychError
from ...files.tensorfile import TensorFile
from ...plugins import Plugins
from ..recipes import OWN, RECIPE, TRAINED_BY, artifact_of
from ..trained_words import guessed_trigger
from ..word_files import bundled_embeddings

if TYPE_CHECKING:
    from ...base import Base
    from ..artifact import Artifact

HELD = ("rank", "alpha")  # settings that a layout may change together with the tensors


@dataclass(frozen=True)
class Recognised:
    """What a header says about a file.

    `kind` is a method's name ("lora", "textual-inversion", "hypernetwork", "dreambooth", "aesthetic-gradients"),
    "checkpoint" or "vae". `family` is that of the bases it fits ("sd1", "sd2", "sdxl", ...), None where the header does
    not tell. `details` is what a user wants to know: rank, alpha, vectors, structure, ... `notes` is what of the file
    is not used, a clause each.
    """

    kind: str
    format: str
    family: str | None
    details: Mapping[str, str | int | float] = field(default_factory=dict)
    triggers: tuple[str, ...] = ()  # words to say in a prompt, as the file states them
    guesses: tuple[str, ...] = ()  # words that it may be called by, where it states none
    notes: tuple[str, ...] = ()


class Format(ABC):
    """One layout of a file.

    Class attributes: `name` as users type it, `kind` of what it holds, `suffixes` (the first is written), `readers`:
    the programs that are known to read it, `title`: one sentence for the table of formats, `loses`: what a file of this
    format cannot hold, empty where nothing is lost. `checked`: the programs whose own code was last run on such files,
    see docs/files.md. `words`: whether it has a place for the embeddings that a LoRA brings along.
    """

    name: ClassVar[str]
    kind: ClassVar[str]
    title: ClassVar[str]
    suffixes: ClassVar[tuple[str, ...]]
    readers: ClassVar[tuple[str, ...]]
    loses: ClassVar[str] = ""
    writes: ClassVar[bool] = True
    checked: ClassVar[tuple[str, ...]] = ()
    words: ClassVar[bool] = False

    @abstractmethod
    def recognise(self, file: TensorFile) -> Recognised | None:
        """What the file is, if it is of this format; by its header alone."""

    @abstractmethod
    def read(self, file: TensorFile) -> Artifact:
        """Its content.

        Raises:
            TriptychError: a tensor that is missing, superfluous, of a wrong shape or not finite, by name.
        """

    def write(
        self, artifact: Artifact, path: Path, base: Base | None = None, metadata: Mapping[str, str] | None = None
    ) -> str:
        """Write it whole or not at all; what was lost or must be known comes back as a sentence, or "".

        `metadata` goes into containers that have a place for it.

        Raises:
            TriptychError: this artifact cannot be held by this format, or the place cannot be written.
        """
        raise TriptychError(f"{self.name} is not a layout that one artifact is written in")


PLUGINS = Plugins[Format](Format, __name__, "triptych.formats")


def formats() -> Mapping[str, Format]:
    """All formats by name, our own layout first: a file with our recipe is first asked whether it is in it."""
    found = PLUGINS.instances()
    return {OWN: found[OWN], **found}


def recognise(file: TensorFile) -> Recognised:
    """What a file is, by its header alone.

    Raises:
        TriptychError: no format knows it.
    """
    for one in formats().values():
        found = one.recognise(file)
        if found:
            family, says = _told_by_recipe(file)
            words = tuple(dict.fromkeys((*says, *found.triggers)))
            guess = guessed_trigger(file.metadata) if found.kind == "lora" and not words else ""
            return replace(found, family=found.family or family, triggers=words, guesses=(guess,) if guess else ())
    if file.container == "picture":
        raise TriptychError(f"{file.path} is a picture that holds no embedding")
    names = ", ".join(name or "one without a name" for name in list(file.layouts)[:3]) or "none"
    raise TriptychError(f"{file.path} is of no kind that triptych knows: its tensors are {names} ...")


def _told_by_recipe(file: TensorFile) -> tuple[str | None, tuple[str, ...]]:
    """The family of its base, and what to say, by a file of ours in another layout."""
    try:
        recipe = json.loads(file.metadata.get(RECIPE, "{}"))
        family, says = recipe.get("family"), recipe.get("says")
    except (ValueError, AttributeError):
        return None, ()
    return str(family) if family else None, (str(says),) if says else ()


def open_artifact(path: Path) -> Artifact:
    """The trained file at `path`, whatever tool wrote it.

    Raises:
        TriptychError: there is none, it is a checkpoint, of no known kind, damaged, or not safe to read.
    """
    file = TensorFile.open(path)
    return artifact_in(file, recognise(file))


def artifact_in(file: TensorFile, found: Recognised) -> Artifact:
    """The content of a file that was recognised.

    Raises:
        TriptychError: it is a checkpoint, or damaged.
    """
    from ..artifact import Beside

    if found.kind in ("checkpoint", "vae"):
        remedy = Remedy.AS_VAE if found.kind == "vae" else Remedy.AS_BASE
        raise TriptychError(f"{file.path} is a {found.kind}, not something to attach", remedy)
    read = formats()[found.format].read(file)
    recipe, name = file.metadata.get(RECIPE), file.path.name
    if recipe:
        read = _with_recipe(read, artifact_of(file.path, recipe, read.tensors))
    else:
        read = replace(read, provenance={**read.provenance, TRAINED_BY: "another program"})
    left_out = f"{name} has parts that are left out: {file.missing_parts}" if file.missing_parts else ""
    notes = (*read.notes, *(f"{name}: {note}" for note in found.notes), left_out)
    words = bundled_embeddings(file) if found.kind == "lora" else {}
    return replace(read, notes=tuple(filter(None, notes)), beside=Beside(name, dict(file.metadata), words))


def _with_recipe(read: Artifact, made: Artifact) -> Artifact:
    """What the recipe says, but for the settings that belong to the tensors as this layout has them."""
    held = {name: getattr(read.settings, name) for name in HELD if hasattr(made.settings, name)}
    return replace(made, settings=replace(made.settings, **held), notes=read.notes)


def load(path: Path | str) -> Artifact | Base:
    """A file of any tool: an `Artifact`, or the `Base` that a checkpoint or a diffusers folder holds.

    Raises:
        TriptychError: there is none, it is of no known kind, damaged, or not safe to read.
    """
    from ...base import open_base

    path = Path(path)
    if path.is_dir():
        return open_base(str(path))
    file = TensorFile.open(path)
    found = recognise(file)
    return open_base(str(path)) if found.kind == "checkpoint" else artifact_in(file, found)
