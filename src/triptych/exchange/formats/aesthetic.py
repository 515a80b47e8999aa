"""The `.pt` file of an aesthetic embedding: one tensor, the mean of CLIP's image features, [1, 768], not normalised.

The code of arXiv:2209.12330 and A1111's extension write it, in float16 or float32. Some of the paper's have [768].
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from ...errors import TriptychError
from ...families import by_projection
from . import Format, Recognised

if TYPE_CHECKING:
    from ...base import Base
    from ...files.tensorfile import TensorFile
    from ..artifact import Artifact

MEAN = "mean_image_feature"


class Aesthetic(Format):
    name = "a1111-aesthetic"
    kind = "aesthetic-gradients"
    title = "one tensor: the mean of CLIP's image features"
    suffixes = (".pt",)
    readers = ("A1111's extension", "the paper's code")
    loses = "all settings; SDXL, which has two CLIPs"

    def recognise(self, file: TensorFile) -> Recognised | None:
        shape = file.layouts[""].shape if set(file.layouts) == {""} else ()
        if not shape or shape[:-1] not in ((), (1,)):
            return None
        width = shape[-1]
        family = by_projection(width)
        if len(shape) == 1 and family is None:
            return None
        return Recognised(self.kind, self.name, family.name if family else None, {"width": width})

    def read(self, file: TensorFile) -> Artifact:
        from ...methods import method_named
        from ..artifact import Artifact

        mean = file.tensors()[""].float().reshape(1, -1)
        return Artifact(self.kind, method_named(self.kind).configure({}), {MEAN: mean})

    def write(
        self, artifact: Artifact, path: Path, base: Base | None = None, metadata: Mapping[str, str] | None = None
    ) -> str:
        from ...files.pt import write_pt

        if artifact.method != self.kind or set(artifact.tensors) != {MEAN}:
            raise TriptychError(f"{self.name} holds one mean image feature, which this {artifact.method} is not")
        write_pt(path, artifact.tensors[MEAN].detach().float())
        settings = artifact.settings
        turned = f"{'negative ' if settings.negative else ''}text {settings.text!r} at angle {settings.text_angle}"
        further = [*(["slerp"] if settings.slerp else []), *([turned] if settings.text else [])]
        wanted = ", ".join([f"{settings.steps} steps", f"a rate of {settings.lr}", *further])
        return f"it holds no settings: where it is used, set {wanted}"
