"""Embeddings as kohya's trainer, OneTrainer and diffusers keep them: one tensor, or `clip_l` and `clip_g` for SDXL.

The tensor's name is `emb_params` (kohya), `emp_params` (OneTrainer), or the word itself (diffusers). A word is called
by the file's name, as A1111 has it, unless its own name is in the file. OneTrainer's vectors for the output
(`emp_params_out`) are left out.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import TriptychError
from ..word_files import BUNDLED, KNOWN, ROWS, SDXL, described, family_of, vectors_of, word_artifact
from . import Format, Recognised

if TYPE_CHECKING:
    from ..artifact import Artifact
    from ..base import Base
    from ..tensorfile import TensorFile

LEFT_OUT = ("emp_params_out", "clip_l_out", "clip_g_out")


class KohyaEmbedding(Format):
    name = "kohya-embedding"
    kind = "textual-inversion"
    title = "a word's vectors: one tensor, for SDXL `clip_l` and `clip_g`"
    suffixes = (".safetensors", ".bin", ".pt")
    readers = ("A1111", "Forge", "ComfyUI", "kohya", "OneTrainer", "diffusers (SD1, SD2)")

    def recognise(self, file: TensorFile) -> Recognised | None:
        names = _names(file)
        if names is None:
            return None
        layouts = {own: file.layouts[theirs] for own, theirs in names.items()}
        return Recognised(self.kind, self.name, family_of(layouts), described(layouts, {}), (_token(file, names),))

    def read(self, file: TensorFile) -> Artifact:
        names = _names(file) or {}
        tensors = file.tensors(names.values())
        return word_artifact(file.path, {own: tensors[theirs] for own, theirs in names.items()}, _token(file, names))

    def write(
        self, artifact: Artifact, path: Path, base: Base | None = None, metadata: Mapping[str, str] | None = None
    ) -> str:
        from ..metadata import write_safetensors

        write_safetensors(path, vectors_of(artifact, self.name), metadata or {})
        return f"it is called by its file's name: {path.stem}"


def _names(file: TensorFile) -> dict[str, str] | None:
    """Ours -> the file's; None where it is no embedding."""
    present = [name for name in file.layouts if name not in LEFT_OUT]
    flat = all(len(file.layouts[name].shape) == 2 for name in present)
    if not flat or any(name.startswith((BUNDLED, "string_to_param.")) for name in present):
        return None
    if set(present) == set(SDXL):
        return {name: name for name in SDXL}
    return {ROWS: present[0]} if len(present) == 1 and present[0] and _is_word(present[0]) else None


def _is_word(name: str) -> bool:
    """Whether a lone tensor is named as a word: not as a weight somewhere in a module."""
    return name in KNOWN or not name.endswith((".weight", ".bias"))


def _token(file: TensorFile, names: Mapping[str, str]) -> str:
    inside = names.get(ROWS, ROWS)
    return file.path.stem if inside in KNOWN else inside


class DiffusersEmbedding(Format):
    name = "diffusers-embedding"
    kind = "textual-inversion"
    title = "a word's vectors under the word itself; for SDXL a second file for the second text encoder"
    suffixes = (".safetensors",)
    readers = ("diffusers", "InvokeAI", "A1111 (SD1, SD2)")

    def recognise(self, file: TensorFile) -> Recognised | None:
        return None  # read as kohya's, which differs by the tensor's name alone

    def read(self, file: TensorFile) -> Artifact:
        return KohyaEmbedding().read(file)

    def write(
        self, artifact: Artifact, path: Path, base: Base | None = None, metadata: Mapping[str, str] | None = None
    ) -> str:
        from ..metadata import write_safetensors

        token, vectors = artifact.settings.token, vectors_of(artifact, self.name)
        if not token:
            raise TriptychError("this embedding has no word to be called by in diffusers' layout: give it one")
        first, *rest = vectors.values()
        write_safetensors(path, {token: first}, metadata or {})
        if not rest:
            return ""
        second = path.with_name(f"{path.stem}_2{path.suffix}")
        write_safetensors(second, {token: rest[0]}, metadata or {})
        return f"{second.name} has the vectors of the second text encoder: load_textual_inversion each into its own"
