"""One file's content in the layout of another program: artifacts by their formats, whole bases, and what lies between.

What moved a base's weights becomes a whole base (one file, or a diffusers folder) or the nearest LoRA; a base becomes a
base in the other layout. What a layout cannot hold is said, a sentence each.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import TriptychError, did_you_mean
from ..families import families
from ..files.tensorfile import TensorFile
from .formats import Format, artifact_in, formats, recognise
from .metadata import architecture, kept, lost, metadata_of
from .saving import save

if TYPE_CHECKING:
    from ..base import Base, Place
    from ..base.device import Precision
    from ..patching.patch import Tensors
    from .artifact import Artifact

FOLDER = "diffusers"  # a whole base as a folder
FILE = "single-file"  # a whole base as one file of the original layout
BASES = (FILE, FOLDER)
PRECISIONS: Mapping[str, Precision] = {"F16": "fp16", "BF16": "bf16", "F32": "fp32"}


@dataclass(frozen=True)
class Order:
    """What shall become of a file or a diffusers folder.

    `place` is the base that a difference is added to. `rank` is that of a LoRA taken out of a difference, `strength`
    how much of a difference is added to its base, `thumbnail` a picture for the metadata, `precision` that of a base.
    """

    source: Path
    to: str
    out: Path
    place: Place | None = None
    rank: int = 32
    strength: float = 1.0
    precision: Precision = "auto"
    thumbnail: Path | None = None


def convert(order: Order) -> list[str]:
    """Write `order.out`.

    Returns:
        What was lost or must be known, a sentence each.

    Raises:
        TriptychError: the source cannot be read, cannot be held by that layout, or the place cannot be written.
    """
    if order.source.is_dir():
        return _base(order, None)
    file = TensorFile.open(order.source)
    found = recognise(file)
    if found.kind == "checkpoint":
        return _base(order, file)
    artifact = artifact_in(file, found)
    if artifact.kind.moves_weights:
        return [*artifact.notes, *_difference(order, artifact)]
    return [*artifact.notes, *_write(order, _format(order.to, artifact.method), artifact)]


def _base(order: Order, file: TensorFile | None) -> list[str]:
    """A whole base in the other layout."""
    from ..base import Place

    if order.to not in BASES:
        raise TriptychError(f"{order.source} is a whole base: it can become {' or '.join(BASES)}, not {order.to!r}")
    base = Place(str(order.source), device="cpu", precision=_kept_precision(order, file)).open()
    header = file.metadata if file else {}
    notes = _write_base(order, base, {}, _of_base(base, order.out.stem), header)
    left = lost(header) if order.to == FOLDER else ""
    return [*notes, f"{order.source.name}: left out {left}: a folder has no place for them"] if left else notes


def _of_base(base: Base, title: str) -> dict[str, str]:
    """What ModelSpec asks of a base beside its architecture."""
    return {"modelspec.title": title, "modelspec.resolution": f"{base.resolution}x{base.resolution}"}


def _kept_precision(order: Order, file: TensorFile | None) -> Precision:
    """That of the file's tensors, mostly, where none is asked for."""
    if order.precision != "auto" or file is None:
        return order.precision if order.precision != "auto" else "fp32"
    kinds = Counter(layout.dtype for layout in file.layouts.values())
    return PRECISIONS.get(kinds.most_common(1)[0][0], "fp32")


def _difference(order: Order, artifact: Artifact) -> list[str]:
    """A base with the difference added, or the LoRA that is nearest to the difference."""
    if order.to == FOLDER:
        return _changed_base(order, artifact)
    wanted = _format("kohya-lora" if order.to == "lora" else order.to, artifact.method, ("lora", "checkpoint"))
    if wanted.name == FILE:
        return _changed_base(replace(order, to=FILE), artifact)
    return _nearest_lora(order, wanted, artifact) if wanted.kind == "lora" else _write(order, wanted, artifact)


def _changed_base(order: Order, artifact: Artifact) -> list[str]:
    if order.place is None:
        raise TriptychError(f"{order.source} is a difference from a base: name that base with --base")
    base = order.place.open()
    made_on, named = artifact.provenance.get("base", ""), Path(base.name).name
    note = f"it was trained on {made_on}, and is added to {named}" if made_on not in ("", named) else ""
    told = _of_base(base, order.out.stem) | metadata_of(artifact, order.out.stem, order.thumbnail)
    return [*_write_base(order, base, artifact.tensors, told), *([note] if note else [])]


def _nearest_lora(order: Order, wanted: Format, artifact: Artifact) -> list[str]:
    """With the settings of the training that the two methods share, since it was trained so."""
    from ..methods import method_named
    from .extract import extract_lora

    found, method = extract_lora(artifact.tensors, order.rank), method_named("lora")
    own = {one.name for one in fields(method.settings_class)}
    shared = {name: value for name, value in vars(artifact.settings).items() if name in own}
    settings = method.configure(shared, {"rank": found.rank, "alpha": float(found.rank)})
    lora = replace(artifact, method="lora", settings=settings, tensors=found.tensors)
    return [str(found), *_write(order, wanted, lora)]


def _format(to: str, method: str, others: tuple[str, ...] = ()) -> Format:
    """The format called `to`, or beginning with it, or read by the program `to`, that holds this method's artifacts.

    Args:
        others: further kinds that such an artifact can be turned into.

    Raises:
        TriptychError: there is none.
    """
    kinds = (method, "any", *others)
    able = {name: one for name, one in formats().items() if one.writes and one.kind in kinds}
    named = [one for name, one in able.items() if name == to or name.startswith(f"{to}-")]
    read = [one for one in able.values() if to.lower() in map(str.lower, one.readers)]
    if not named and not read:
        known = {*able, FOLDER} if FILE in able else able
        raise TriptychError(f"a {method} cannot be written as {to!r}{did_you_mean(to, known)}")
    return (named + read)[0]


def _write(order: Order, wanted: Format, artifact: Artifact) -> list[str]:
    if order.out.suffix != wanted.suffixes[0]:
        raise TriptychError(f"{order.out} must end in {wanted.suffixes[0]} to be a {wanted.name}")
    base = order.place.open() if order.place else None
    return save(artifact, order.out, to=wanted.name, base=base, thumbnail=order.thumbnail)


def _write_base(
    order: Order, base: Base, difference: Tensors, told: Mapping[str, str], header: Mapping[str, str] | None = None
) -> list[str]:
    """In the precision asked for, else in that of the checkpoint, else in float16.

    Args:
        header: what the file of the base itself says, where only its layout changes.
    """
    from ..base.device import DTYPES
    from .export import Change, write_diffusers_folder, write_single_file

    source = Path(base.name) if Path(base.name).is_file() else None
    dtype = DTYPES.get(order.precision, None if source else DTYPES["fp16"])
    change = Change(difference, order.strength)
    if order.to == FOLDER:
        rounded = write_diffusers_folder(base, order.out, change, dtype=dtype)
        return [rounded] if rounded else []
    if order.out.suffix != ".safetensors":
        raise TriptychError(f"{order.out} must end in .safetensors to be a {FILE}")
    family, prediction = base.description.family, base.process.prediction
    metadata = kept(header or {}, {**told, **architecture(family, prediction, original=True)})
    notes = [write_single_file(base, order.out, change, source=source, dtype=dtype, metadata=metadata)]
    if family not in families():
        notes.append(f"programs open such a file by Stable Diffusion's own sizes, which {family} has not")
    return [note for note in notes if note]
