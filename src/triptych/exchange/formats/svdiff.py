"""Spectral shifts by svdiff-pytorch: `module.path.delta` for each module, without the name of the network.

That program writes the denoiser's to `spectral_shifts.safetensors` and a text encoder's to `spectral_shifts_te`. It has
shifts of norms too, each one number, and of token embeddings, which are left out here.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from ...errors import TriptychError
from ...families import family_named
from ..lora_files import artifact_of, recognised
from . import Format, Recognised

if TYPE_CHECKING:
    from ...base import Base
    from ...files.tensorfile import TensorFile
    from ..artifact import Artifact

SHIFT = ".delta"
DENOISER = family_named("sd1").denoiser  # the only families that the program knows have this one
TEXT = "text_model."  # the beginning of a text encoder's paths
T = TypeVar("T")


class SvDiffShifts(Format):
    name = "svdiff"
    kind = "lora"
    title = "shifts of singular values (SVDiff), of one network"
    suffixes = (".safetensors",)
    readers = ("svdiff-pytorch",)
    loses = "all but SVDiff of the denoiser is refused"

    def recognise(self, file: TensorFile) -> Recognised | None:
        if not file.layouts or not all(name.endswith(SHIFT) for name in file.layouts):
            return None
        return recognised(self.name, _layers(file.layouts), file)

    def read(self, file: TensorFile) -> Artifact:
        return artifact_of(_layers(file.tensors()), {}, file)

    def write(
        self, artifact: Artifact, path: Path, base: Base | None = None, metadata: Mapping[str, str] | None = None
    ) -> str:
        from ...files.streaming import write_safetensors

        start = f"{DENOISER}."
        other = [name for name in artifact.tensors if not (name.startswith(start) and name.endswith(SHIFT))]
        if other:
            raise TriptychError(f"{self.name} holds SVDiff of the denoiser alone, and this one has {other[0]}")
        shifts = {name.removeprefix(start): tensor for name, tensor in artifact.tensors.items()}
        write_safetensors(path, shifts, dict(metadata or {}))
        return ""


def _layers(tensors: Mapping[str, T]) -> dict[str, dict[str, T]]:
    """The shift of each layer by its canonical path."""
    paths = {name: name.removesuffix(SHIFT) for name in tensors if ".embeddings." not in name}
    return {
        f"{'text_encoder' if path.startswith(TEXT) else DENOISER}.{path}": {"delta": tensors[name]}
        for name, path in paths.items()
    }
