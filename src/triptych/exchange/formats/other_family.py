"""LoRA files for model families without a base here. They are recognised, so that the error can name the family."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...errors import TriptychError
from ...families import families
from ..other_families import other_family
from . import Format, Recognised

if TYPE_CHECKING:
    from ...files.tensorfile import TensorFile
    from ..artifact import Artifact


class OtherFamily(Format):
    name = "other-family"
    kind = "lora"
    title = "LoRA for Flux, SD3 and other models that no base here is of: refused by their names"
    suffixes = (".safetensors",)
    readers = ()
    writes = False

    def recognise(self, file: TensorFile) -> Recognised | None:
        family = other_family(file)
        if family is None:
            return None
        return Recognised(self.kind, self.name, family, notes=(f"not to be attached: {_reason(family)}",))

    def read(self, file: TensorFile) -> Artifact:
        raise TriptychError(f"{file.path} cannot be attached: {_reason(str(other_family(file)))}")


def _reason(family: str) -> str:
    return f"it is a LoRA for {family}, and bases here are {', '.join(known.title for known in families().values())}"
