"""Embeddings by kohya's trainer, OneTrainer and diffusers: one tensor, or `clip_l` and `clip_g` for SDXL.

The tensor's name is `emb_params` (kohya), `emp_params` (OneTrainer), or the word itself (diffusers). The word is the
file's name, as in A1111, unless the file states it. OneTrainer's vectors for the output (`emp_params_out`) are left
out. For SDXL diffusers has two files, `NAME` and `NAME_2`, each with the vectors of one text encoder. Replicate's and
diffusers' trainers for pivotal tuning use `text_encoders_0` and `text_encoders_1`. There each vector is a word, `<s0>`,
`<s1>`, ..., and prompts have all of them in a row.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from ...errors import TriptychError
from ...families import by_text_widths
from ...files.tensorfile import TensorFile
from ..word_files import (
    BUNDLED,
    KNOWN,
    LEFT_OUT,
    NUMBERED,
    ROWS,
    SDXL,
    described,
    embedding_family,
    own_names,
    vectors_of,
    word_artifact,
)
from . import Format, Recognised

if TYPE_CHECKING:
    from ...base import Base
    from ..artifact import Artifact


class KohyaEmbedding(Format):
    name = "kohya-embedding"
    kind = "textual-inversion"
    title = "a word's vectors: one tensor, for SDXL `clip_l` and `clip_g`"
    suffixes = (".safetensors", ".bin", ".pt")
    readers = ("A1111", "Forge", "ComfyUI", "kohya", "OneTrainer", "diffusers (SD1, SD2)")
    checked = ("A1111", "ComfyUI")

    def recognise(self, file: TensorFile) -> Recognised | None:
        names = _names(file)
        if names is None or _second(file):
            return None
        layouts = {own: file.layouts[theirs] for own, theirs in names.items()}
        unread = " and ".join(name for name in file.layouts if name in LEFT_OUT)
        notes = (f"left out {unread}, vectors for the text encoder's output, which no base here takes",)
        return Recognised(
            self.kind, self.name, embedding_family(layouts), described(layouts, {}), (_token(file, names),),
            notes=notes if unread else (),
        )  # fmt: skip

    def read(self, file: TensorFile) -> Artifact:
        names = _names(file) or {}
        tensors = file.tensors(names.values())
        return word_artifact(file.path, {own: tensors[theirs] for own, theirs in names.items()}, _token(file, names))

    def write(
        self, artifact: Artifact, path: Path, base: Base | None = None, metadata: Mapping[str, str] | None = None
    ) -> str:
        from ...files.streaming import write_safetensors
        from ..metadata import IMPLEMENTATION, implementation

        vectors, known = vectors_of(artifact, self.name), dict(metadata or {})
        if known and len(vectors) == len(SDXL):
            known[IMPLEMENTATION] = implementation("sdxl")
        write_safetensors(path, vectors, known)
        return f"it is called by its file's name: {path.stem}"


def _names(file: TensorFile) -> dict[str, str] | None:
    """Canonical name -> the file's name; None where the file is not an embedding."""
    present = [name for name in file.layouts if name not in LEFT_OUT]
    rows = all(_is_rows(file.layouts[name].shape) for name in present)
    if not rows or any(name.startswith((BUNDLED, "string_to_param.")) for name in present):
        return None
    names = own_names(present)
    return names if names and all(name and _is_word(name) for name in names.values()) else None


def _is_rows(shape: tuple[int, ...]) -> bool:
    """Whether a shape is [vectors, width], or [width] of a text encoder, as in diffusers' oldest files."""
    return len(shape) == 2 or (len(shape) == 1 and by_text_widths(shape) is not None)


def _is_word(name: str) -> bool:
    """Whether the name of a single tensor can be a word, and not that of a weight in a module."""
    return name in KNOWN or not name.endswith((".weight", ".bias"))


def _token(file: TensorFile, names: Mapping[str, str]) -> str:
    first = next(iter(names.values()))
    if first == NUMBERED["clip_l"]:
        return "".join(f"<s{i}>" for i in range(file.layouts[first].shape[0]))
    inside = names.get(ROWS, ROWS)
    return file.path.stem if inside in KNOWN else inside


class DiffusersEmbedding(Format):
    name = "diffusers-embedding"
    kind = "textual-inversion"
    title = "a word's vectors under the word itself; for SDXL a second file for the second text encoder"
    suffixes = (".safetensors",)
    readers = ("diffusers", "InvokeAI", "A1111 (SD1, SD2)", "ComfyUI (SD1, SD2)")
    checked = ("A1111", "ComfyUI", "diffusers")

    def recognise(self, file: TensorFile) -> Recognised | None:
        """Recognise SDXL's pair of files by the first. A single file is recognised by `KohyaEmbedding`."""
        second = _second(file)
        if second is None:
            return None
        (token,) = file.layouts
        layouts = dict(zip(SDXL, (file.layouts[token], second.layouts[token]), strict=True))
        details = described(layouts, {}) | {"second file": second.path.name}
        return Recognised(self.kind, self.name, "sdxl", details, (token,))

    def read(self, file: TensorFile) -> Artifact:
        second = _second(file)
        if second is None:
            return KohyaEmbedding().read(file)
        (token,) = file.layouts
        tensors = dict(zip(SDXL, (file.tensors()[token], second.tensors()[token]), strict=True))
        return word_artifact(file.path, tensors, token)

    def write(
        self, artifact: Artifact, path: Path, base: Base | None = None, metadata: Mapping[str, str] | None = None
    ) -> str:
        from ...files.streaming import write_safetensors

        token, vectors = artifact.settings.token, vectors_of(artifact, self.name)
        if not token:
            raise TriptychError("this embedding has no word to be called by in diffusers' layout: give it one")
        first, *rest = vectors.values()
        write_safetensors(path, {token: first}, metadata or {})
        if not rest:
            return ""
        second = _beside(path)
        write_safetensors(second, {token: rest[0]}, metadata or {})
        return f"{second.name} has the vectors of the second text encoder: load_textual_inversion each into its own"


def _beside(path: Path) -> Path:
    return path.with_name(f"{path.stem}_2{path.suffix}")


def _second(file: TensorFile) -> TensorFile | None:
    """The second file of a pair for SDXL, with the vectors of the second text encoder; None where there is none."""
    path, names = _beside(file.path), list(file.layouts)
    other_base = file.metadata.get("modelspec.architecture", "").startswith("stable-diffusion-v")
    if other_base or len(names) != 1 or names[0] in KNOWN or not path.is_file():
        return None
    try:
        second = TensorFile.open(path)
    except TriptychError:
        return None
    if set(second.layouts) != set(names):
        return None
    first, other = file.layouts[names[0]].shape, second.layouts[names[0]].shape
    pair = len(first) == len(other) == 2 and first[0] == other[0] and first[1] != other[1]
    return second if pair and by_text_widths(other[1:]) is None else None
