"""Functions shared by the layouts of embeddings: number and width of vectors, and their word."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import TriptychError
from ..families import by_text_widths, families
from ..patching.adapters import Shaped

if TYPE_CHECKING:
    from torch import Tensor

    from ..files.layout import Layout
    from ..files.tensorfile import TensorFile
    from .artifact import Artifact

ROWS = "emb_params"  # the name of one text encoder's vectors, here and in kohya's files
SDXL = ("clip_l", "clip_g")
NUMBERED = {"clip_l": "text_encoders_0", "clip_g": "text_encoders_1"}  # Replicate's and diffusers' pivotal tuning
SIDES = {tuple(text.embedding for text in family.texts) for family in families().values()} - {(ROWS,)}
KNOWN = (ROWS, "emp_params", "*")  # tensor names that are not the word
LEFT_OUT = ("emp_params_out", "clip_l_out", "clip_g_out")  # OneTrainer's vectors at the encoder's output
BUNDLED = "bundle_emb."  # prefix of embeddings in a LoRA's file
MOST_VECTORS = 1024  # more than any prompt can hold


def embedding_family(layouts: Mapping[str, Shaped]) -> str | None:
    """The family of an embedding: by its tensor names, if only one family has them, else by the widths."""
    named = [family for family in families().values() if {text.embedding for text in family.texts} == set(layouts)]
    found = named[0] if len(named) == 1 else by_text_widths(layout.shape[-1] for layout in layouts.values())
    return found.name if found else None


def described(layouts: Mapping[str, Layout], values: Mapping[str, object]) -> dict[str, str | int | float]:
    """Details of an embedding: vectors, widths, and the training entries of an A1111 file."""
    shapes = [layout.shape for layout in layouts.values()]
    vectors = shapes[0][0] if len(shapes[0]) == 2 else 1
    details: dict[str, str | int | float] = {"vectors": vectors, "width": " and ".join(str(s[-1]) for s in shapes)}
    for name in ("name", "step", "sd_checkpoint", "sd_checkpoint_name"):
        value = values.get(name)
        if isinstance(value, str | int) and value:
            details[name] = value
    return details


def word_artifact(
    path: Path, tensors: Mapping[str, Tensor], token: str, stated: Mapping[str, object] | None = None
) -> Artifact:
    """A textual inversion by another program, called `token`.

    Raises:
        TriptychError: the tensors are not vectors, or their number differs between text encoders.
    """
    from ..methods import method_named
    from .artifact import Artifact

    rows = {name: tensor[None] if tensor.dim() == 1 else tensor for name, tensor in tensors.items()}
    for name, tensor in rows.items():
        if tensor.dim() != 2 or not 1 <= len(tensor) <= MOST_VECTORS or not tensor.is_floating_point():
            raise TriptychError(f"{path} holds no word's vectors: its tensor {name} is {tuple(tensor.shape)}")
    counts = {len(tensor) for tensor in rows.values()}
    if len(counts) != 1:
        several = " and ".join(map(str, sorted(counts)))
        raise TriptychError(f"{path} is damaged: it has {several} vectors for the two text encoders")
    settings = method_named("textual-inversion").configure({"token": token, "vectors": counts.pop(), "start_word": ""})
    provenance = {"says": token} | {name: str(value) for name, value in (stated or {}).items() if value is not None}
    return Artifact("textual-inversion", settings, rows, provenance)


def vectors_of(artifact: Artifact, layout: str) -> dict[str, Tensor]:
    """The tensors of an embedding, in the order of the text encoders.

    Raises:
        TriptychError: the artifact is not an embedding.
    """
    if artifact.method != "textual-inversion":
        raise TriptychError(f"a {artifact.method} cannot be written as {layout}: that holds a word's vectors")
    names = next((side for side in SIDES if set(side) == set(artifact.tensors)), (ROWS,))
    return {name: artifact.tensors[name] for name in names}


def own_names(names: Iterable[str]) -> dict[str, str] | None:
    """Canonical name -> the file's name, for one word: the tensors of a family, or one tensor; else None."""
    present = [name for name in names if name not in LEFT_OUT]
    for side in SIDES:
        if set(present) == set(side):
            return {name: name for name in side}
    if set(present) == set(NUMBERED.values()):
        return dict(NUMBERED)
    return {ROWS: present[0]} if len(present) == 1 else None


def bundled_words(names: Iterable[str]) -> dict[str, dict[str, str]]:
    """Word -> part -> tensor name, for the embeddings in a LoRA's file.

    A word may contain dots. The part is the last piece, or `string_to_param` with its key.
    """
    found: dict[str, dict[str, str]] = {}
    for name in names:
        if name.startswith(BUNDLED):
            word, param, key = name.removeprefix(BUNDLED).rpartition(".string_to_param.")
            if not param:
                word, _, key = name.removeprefix(BUNDLED).rpartition(".")
            found.setdefault(word, {})[key] = name
    return found


def bundled_tensors(words: Mapping[str, Artifact]) -> dict[str, Tensor]:
    """Embeddings by their tensor names in a LoRA's file."""
    found = {}
    for word, artifact in words.items():
        for name, tensor in artifact.tensors.items():
            found[f"{BUNDLED}{word}.{name if name in SDXL else 'string_to_param.*'}"] = tensor
    return found


def bundled_embeddings(file: TensorFile) -> dict[str, Artifact]:
    """The embeddings in a LoRA's file, by word.

    Raises:
        TriptychError: they are not vectors, or are for text encoders that no base here has.
    """
    found = {}
    for word, parts in bundled_words(file.layouts).items():
        names = own_names(parts)
        if names is None:
            raise TriptychError(
                f"{file.path} has an embedding {word!r} of {' and '.join(parts)}: only one tensor can be used,"
                " or clip_l and clip_g"
            )
        tensors = {own: file.tensors([parts[part]])[parts[part]] for own, part in names.items()}
        found[word] = word_artifact(file.path, tensors, word)
    return found
