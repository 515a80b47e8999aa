"""The files of a mix by their headers. It needs no torch, so files that do not go together are refused at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ..errors import TriptychError
from ..exchange.formats import Recognised, recognise
from ..files.tensorfile import TensorFile
from .request import Mix

KINDS = ("checkpoint", "lora", "dreambooth", "textual-inversion", "hypernetwork")


@dataclass(frozen=True)
class Opened:
    """The files by their headers."""

    files: Sequence[TensorFile]
    found: Sequence[Recognised]

    @property
    def kind(self) -> str:
        """The common kind, or "baking" for a checkpoint with changes after it.

        Raises:
            TriptychError: the kinds do not go together.
        """
        kinds = [found.kind for found in self.found]
        if len(set(kinds)) == 1 and kinds[0] in KINDS:
            return kinds[0]
        if kinds[0] == "checkpoint" and set(kinds[1:]) <= {"lora", "dreambooth"}:
            return "baking"
        names = " and ".join(
            f"{file.path.name} ({found.kind})" for file, found in zip(self.files, self.found, strict=True)
        )
        why = "give files of one kind, or a checkpoint first and LoRAs and differences after it"
        raise TriptychError(f"{names} cannot be mixed: {why}")


def open_files(mix: Mix) -> Opened:
    """Open the headers.

    Raises:
        TriptychError: a file is missing, damaged or a folder, or the kinds do not go together.
    """
    files = []
    for ingredient in mix.ingredients:
        if ingredient.path.is_dir():
            raise TriptychError(f"{ingredient.path} is a folder: convert it to a checkpoint of one file first")
        files.append(TensorFile.open(ingredient.path))
    opened = Opened(files, [recognise(file) for file in files])
    _ = opened.kind
    return opened
