"""File formats of artifacts, one module per format. All modules of this folder are registered.

Importing a format loads no torch, so that `triptych inspect` answers at once. Functions that read or write tensors
import it themselves.
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


@dataclass(frozen=True)
class Recognised:
    """The description of a file by its header.

    `kind` is a method's name ("lora", "textual-inversion", "hypernetwork", "dreambooth", "aesthetic-gradients"),
    "checkpoint" or "vae". `family` is that of the bases it fits ("sd1", "sd2", "sdxl", ...), None where the header
    does not show it. `details` are for the user: rank, alpha, vectors, structure, ... `notes` has one clause for each
    part of the file that is not used.
    """

    kind: str
    format: str
    family: str | None
    details: Mapping[str, str | int | float] = field(default_factory=dict)
    triggers: tuple[str, ...] = ()  # words for prompts, stated by the file
    guesses: tuple[str, ...] = ()  # likely words for prompts, where it states none
    notes: tuple[str, ...] = ()


class Format(ABC):
    """One layout of a file.

    Class attributes: `name` as users type it, `kind` of what it holds, `suffixes` (the first is written), `readers`:
    the programs that are known to read it, `title`: one sentence for the table of formats, `loses`: content that the
    format cannot hold, "" for none. `checked`: the programs whose own code was run on such files, see docs/files.md.
    `words`: whether it has a place for the embeddings that a LoRA bundles.
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
        """Describe the file by its header, if it has this format; else return None."""

    @abstractmethod
    def read(self, file: TensorFile) -> Artifact:
        """Read its content.

        Raises:
            TriptychError: a tensor is missing, superfluous, of a wrong shape or not finite; the error names it.
        """

    def write(
        self, artifact: Artifact, path: Path, base: Base | None = None, metadata: Mapping[str, str] | None = None
    ) -> str:
        """Write an artifact atomically. Returns a sentence on what is lost or what the user must know, or "".

        `metadata` is written into containers that have a place for it.

        Raises:
            TriptychError: this format cannot hold this artifact, or the file cannot be written.
        """
        raise TriptychError(f"{self.name} is not a layout that one artifact is written in")


PLUGINS = Plugins[Format](Format, __name__, "triptych.formats")


def formats() -> Mapping[str, Format]:
    """All formats by name. triptych's own layout is first, so that it is tried first on a file with a recipe."""
    found = PLUGINS.instances()
    return {OWN: found[OWN], **found}


def recognise(file: TensorFile) -> Recognised:
    """Recognise a file by its header.

    Raises:
        TriptychError: no format recognises it.
    """
    for layout in formats().values():
        found = layout.recognise(file)
        if found:
            family, says = _from_recipe(file)
            words = tuple(dict.fromkeys((*says, *found.triggers)))
            guess = guessed_trigger(file.metadata) if found.kind == "lora" and not words else ""
            return replace(found, family=found.family or family, triggers=words, guesses=(guess,) if guess else ())
    if file.container == "picture":
        raise TriptychError(f"{file.path} is a picture that holds no embedding")
    names = ", ".join(name or "one without a name" for name in list(file.layouts)[:3]) or "none"
    raise TriptychError(f"{file.path} is of no kind that triptych knows: its tensors are {names} ...")


def _from_recipe(file: TensorFile) -> tuple[str | None, tuple[str, ...]]:
    """The family and the words for prompts from the recipe of a file, in any layout."""
    try:
        recipe = json.loads(file.metadata.get(RECIPE, "{}"))
        family, says = recipe.get("family"), recipe.get("says")
    except (ValueError, AttributeError):
        return None, ()
    return str(family) if family else None, (str(says),) if says else ()


def open_artifact(path: Path) -> Artifact:
    """Open a trained file by any program.

    Raises:
        TriptychError: the file is missing, a checkpoint, of no known kind, damaged, or not safe to read.
    """
    file = TensorFile.open(path)
    return artifact_in(file, recognise(file))


def artifact_in(file: TensorFile, found: Recognised) -> Artifact:
    """Read a file that was recognised.

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
    """The artifact of the recipe, with the rank of this file's tensors.

    The settings state the alpha of training. Where this layout scales otherwise, each layer has an own alpha.
    """
    from ..alphas import with_alphas

    if read.method != "lora" or made.method != "lora":
        return replace(made, notes=read.notes)
    tensors = made.tensors
    if read.settings.alpha != made.settings.alpha:
        tensors = with_alphas(tensors, read.settings.alpha)
    return replace(made, settings=replace(made.settings, rank=read.settings.rank), tensors=tensors, notes=read.notes)


def load(path: Path | str) -> Artifact | Base:
    """Open a file by any program: an `Artifact`, or the `Base` in a checkpoint or a diffusers folder.

    Raises:
        TriptychError: the file is missing, of no known kind, damaged, or not safe to read.
    """
    from ...base import open_base

    path = Path(path)
    if path.is_dir():
        return open_base(str(path))
    file = TensorFile.open(path)
    found = recognise(file)
    return open_base(str(path)) if found.kind == "checkpoint" else artifact_in(file, found)
