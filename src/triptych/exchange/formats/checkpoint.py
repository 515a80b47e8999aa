"""A checkpoint: a whole base in one file in Stable Diffusion's original layout ("LDM"; "sgm" for SDXL).

A file with the denoiser or the autoencoder alone is recognised too. A checkpoint is a base and cannot be attached.
`triptych convert` writes one from a base and a change of its weights.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...errors import Remedy, TriptychError
from ...files.checkpoint import Contents, contents_of
from . import Format, Recognised

if TYPE_CHECKING:
    from ...files.tensorfile import TensorFile
    from ..artifact import Artifact


class SingleFile(Format):
    name = "single-file"
    kind = "checkpoint"
    title = "a whole base with the change added to its weights, in the original layout"
    suffixes = (".safetensors", ".ckpt")
    readers = ("diffusers", "A1111", "ComfyUI", "sd-mecha")
    loses = "the base and the change can no longer be told apart; rounding to 16 bits, which is stated"

    def recognise(self, file: TensorFile) -> Recognised | None:
        contents = contents_of(file)
        if contents is None:
            return None
        kind = "vae" if contents.kind == "vae" else "checkpoint"
        return Recognised(kind, self.name, contents.family, _details(contents))

    def read(self, file: TensorFile) -> Artifact:
        raise TriptychError(f"{file.path} is a base, not something to attach to one", Remedy.AS_BASE)


def _details(contents: Contents) -> dict[str, str | int | float]:
    details = {
        "holds": ", ".join(contents.parts),
        "variant": contents.variant,
        "prediction": contents.prediction or "",
        "told by": contents.told_by,
        "averaged weights": "yes" if contents.ema else "",
    }
    return {name: text for name, text in details.items() if text}
