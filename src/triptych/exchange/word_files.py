"""What the layouts of embeddings have in common: how many vectors of what width, and the word they stand for."""

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

ROWS = "emb_params"  # our name of one text encoder's vectors, which is kohya's
SDXL = ("clip_l", "clip_g")
NUMBERED = {"clip_l": "text_encoders_0", "clip_g": "text_encoders_1"}  # Replicate's and diffusers' pivotal tuning
SIDES = {tuple(text.embedding for text in family.texts) for family in families().values()} - {(ROWS,)}
KNOWN = (ROWS, "emp_params", "*")  # names that say nothing of the word
LEFT_OUT = ("emp_params_out", "clip_l_out", "clip_g_out")  # OneTrainer's vectors at the encoder's output
BUNDLED = "bundle_emb."  # embeddings within the file of a LoRA
MOST_VECTORS = 1024  # more than any prompt has room for


def embedding_family(layouts: Mapping[str, Shaped]) -> str | None:
    """By the names of its vectors, if only one family has them; else by their widths."""
    named = [family for family in families().values() if {text.embedding for text in family.texts} == set(layouts)]
    found = named[0] if len(named) == 1 else by_text_widths(layout.shape[-1] for layout in layouts.values())
    return found.name if found else None


def described(layouts: Mapping[str, Layout], values: Mapping[str, object]) -> dict[str, str | int | float]:
    """Vectors, widths, and what an A1111 file says of its training."""
    shapes = [layout.shape for layout in layouts.values()]
    vectors = shapes[0][0] if len(shapes[0]) == 2 else 1
    told: dict[str, str | int | float] = {"vectors": vectors, "width": " and ".join(str(s[-1]) for s in shapes)}
    for name in ("name", "step", "sd_checkpoint", "sd_checkpoint_name"):
        value = values.get(name)
        if isinstance(value, str | int) and value:
            told[name] = value
    return told


def word_artifact(
    path: Path, tensors: Mapping[str, Tensor], token: str, told: Mapping[str, object] | None = None
) -> Artifact:
    """A word that another program learned, called `token`.

    Raises:
        TriptychError: the tensors are no vectors, or not as many in each text encoder.
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
    provenance = {"says": token} | {name: str(value) for name, value in (told or {}).items() if value is not None}
    return Artifact("textual-inversion", settings, rows, provenance)


def vectors_of(artifact: Artifact, layout: str) -> dict[str, Tensor]:
    """The tensors of an embedding, the first text encoder's first.

    Raises:
        TriptychError: it is something else.
    """
    if artifact.method != "textual-inversion":
        raise TriptychError(f"a {artifact.method} cannot be written as {layout}: that holds a word's vectors")
    names = next((side for side in SIDES if set(side) == set(artifact.tensors)), (ROWS,))
    return {name: artifact.tensors[name] for name in names}


def own_names(names: Iterable[str]) -> dict[str, str] | None:
    """Ours -> theirs, for the tensors of one word: those of a family, or a single one; None where it is neither."""
    present = [name for name in names if name not in LEFT_OUT]
    for side in SIDES:
        if set(present) == set(side):
            return {name: name for name in side}
    if set(present) == set(NUMBERED.values()):
        return dict(NUMBERED)
    return {ROWS: present[0]} if len(present) == 1 else None


def bundled_words(names: Iterable[str]) -> dict[str, dict[str, str]]:
    """The words of the embeddings within a LoRA's file, and for each: its parts -> the file's names.

    A word may hold dots: what comes last is the part, `string_to_param` with its key.
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
    """Embeddings as a LoRA's file keeps them, by name."""
    found = {}
    for word, artifact in words.items():
        for name, tensor in artifact.tensors.items():
            found[f"{BUNDLED}{word}.{name if name in SDXL else 'string_to_param.*'}"] = tensor
    return found


def bundled_embeddings(file: TensorFile) -> dict[str, Artifact]:
    """The embeddings within a LoRA's file, by name; each is called by its name.

    Raises:
        TriptychError: they are no vectors, or those of text encoders that no base here has.
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
