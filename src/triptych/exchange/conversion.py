"""Conversion of a file to the layout of another program.

An artifact is written in another format. A change of a base's weights becomes a whole base (one file, or a diffusers
folder) or the nearest LoRA. A base becomes a base in the other layout. Content that a layout cannot hold is reported,
one sentence each.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import Remedy, TriptychError, did_you_mean
from ..families import families
from ..files.tensorfile import TensorFile
from ..options import Precision
from .formats import Format, artifact_in, formats, recognise
from .metadata import architecture, kept, lost, metadata_of
from .recipes import TRAINED_BY
from .saving import save

if TYPE_CHECKING:
    from ..base import Base, Place
    from ..patching.patch import Tensors
    from .artifact import Artifact

FOLDER = "diffusers"  # a whole base as a folder
FILE = "single-file"  # a whole base as one file of the original layout
BASES = (FILE, FOLDER)
OF_BASE = ("base", "base_fingerprint", "family", "prediction", "resolution")  # of the provenance
PRECISIONS: Mapping[str, Precision] = {"F16": "fp16", "BF16": "bf16", "F32": "fp32"}


@dataclass(frozen=True)
class ConversionRequest:
    """A conversion of a file or a diffusers folder.

    `place` is the base that a difference is added to, `strength` its factor. `rank` is for a LoRA extracted from a
    difference. `precision` is for a base. `thumbnail` is a picture for the metadata.
    """

    source: Path
    to: str
    out: Path
    place: Place | None = None
    rank: int = 32
    strength: float = 1.0
    precision: Precision = "auto"
    thumbnail: Path | None = None


def convert(request: ConversionRequest) -> list[str]:
    """Write `request.out`.

    Returns:
        One sentence for each loss, and for what the user must know.

    Raises:
        TriptychError: the source cannot be read, the layout cannot hold it, or the file cannot be written.
    """
    if request.source.is_dir():
        return _base(request, None)
    file = TensorFile.open(request.source)
    found = recognise(file)
    if found.kind == "checkpoint":
        return _base(request, file)
    artifact = _word_within(request, artifact_in(file, found))
    if artifact.kind.moves_weights:
        return [*artifact.notes, *_difference(request, artifact)]
    return [*artifact.notes, *_write(request, _format(request.to, artifact.method), artifact)]


def _word_within(request: ConversionRequest, artifact: Artifact) -> Artifact:
    """The word that a LoRA's file bundles, where a layout of embeddings is asked for; else the artifact itself.

    Raises:
        TriptychError: the file bundles several words.
    """
    wanted, words = formats().get(request.to), artifact.beside.words
    if wanted is None or wanted.kind == artifact.method or not words:
        return artifact
    if wanted.kind not in {word.method for word in words.values()}:
        return artifact
    if len(words) > 1:
        raise TriptychError(f"{request.source} bundles several words, and {wanted.name} holds one: {', '.join(words)}")
    ((token, word),) = words.items()
    origin = {name: artifact.provenance[name] for name in OF_BASE if name in artifact.provenance}
    return replace(word, provenance={**origin, "says": token, TRAINED_BY: f"with {request.source.name}"})


def _base(request: ConversionRequest, file: TensorFile | None) -> list[str]:
    """Write a whole base in the other layout."""
    from ..base import Place

    if request.to not in BASES:
        raise TriptychError(f"{request.source} is a whole base: it can become {' or '.join(BASES)}, not {request.to!r}")
    base = Place(str(request.source), device="cpu", precision=_kept_precision(request, file)).open()
    header = file.metadata if file else {}
    notes = _write_base(request, base, {}, _of_base(base, request.out.stem), header)
    left = lost(header) if request.to == FOLDER else ""
    return [*notes, f"{request.source.name}: left out {left}: a folder has no place for them"] if left else notes


def _of_base(base: Base, title: str) -> dict[str, str]:
    """ModelSpec's entries for a base, except its architecture."""
    return {"modelspec.title": title, "modelspec.resolution": f"{base.resolution}x{base.resolution}"}


def _kept_precision(request: ConversionRequest, file: TensorFile | None) -> Precision:
    """The requested precision, or that of most tensors in the file."""
    if request.precision != "auto" or file is None:
        return request.precision if request.precision != "auto" else "fp32"
    return precision_of(file)


def precision_of(file: TensorFile) -> Precision:
    """The precision of most tensors in a file; fp32 where most are of another type."""
    kinds = Counter(layout.dtype for layout in file.layouts.values())
    return PRECISIONS.get(kinds.most_common(1)[0][0], "fp32")


def _difference(request: ConversionRequest, artifact: Artifact) -> list[str]:
    """Write a base with the difference added, or the LoRA nearest to the difference."""
    if request.to == FOLDER:
        return _changed_base(request, artifact)
    wanted = _format("kohya-lora" if request.to == "lora" else request.to, artifact.method, ("lora", "checkpoint"))
    if wanted.name == FILE:
        return _changed_base(replace(request, to=FILE), artifact)
    return _nearest_lora(request, wanted, artifact) if wanted.kind == "lora" else _write(request, wanted, artifact)


def _changed_base(request: ConversionRequest, artifact: Artifact) -> list[str]:
    if request.place is None:
        raise TriptychError(f"{request.source} is a difference from a base", Remedy.NAME_BASE)
    base = request.place.open()
    made_on, named = artifact.provenance.get("base", ""), Path(base.name).name
    note = f"it was trained on {made_on}, and is added to {named}" if made_on not in ("", named) else ""
    stated = _of_base(base, request.out.stem) | metadata_of(artifact, request.out.stem, request.thumbnail)
    return [*_write_base(request, base, artifact.tensors, stated), *([note] if note else [])]


def _nearest_lora(request: ConversionRequest, wanted: Format, artifact: Artifact) -> list[str]:
    """Write the nearest LoRA. It keeps the training settings that both methods have."""
    from ..methods import method_named
    from .extract import extract_lora

    found, method = extract_lora(artifact.tensors, request.rank), method_named("lora")
    own = {entry.name for entry in fields(method.settings_class)}
    shared = {name: value for name, value in vars(artifact.settings).items() if name in own}
    settings = method.configure(shared, {"rank": found.rank, "alpha": float(found.rank)})
    lora = replace(artifact, method="lora", settings=settings, tensors=found.tensors)
    return [str(found), *_write(request, wanted, lora)]


def _format(to: str, method: str, others: tuple[str, ...] = ()) -> Format:
    """Find a format for this method's artifacts. `to` is its name, the start of its name, or a program that reads it.

    Args:
        others: further kinds that such an artifact can become.

    Raises:
        TriptychError: there is no such format.
    """
    kinds = (method, "any", *others)
    able = {name: layout for name, layout in formats().items() if layout.writes and layout.kind in kinds}
    named = [layout for name, layout in able.items() if name == to or name.startswith(f"{to}-")]
    named.sort(key=lambda layout: layout.name not in (to, f"{to}-{layout.kind}"))  # "diffusers": diffusers-lora first
    read = [layout for layout in able.values() if to.lower() in map(str.lower, layout.readers)]
    if not named and not read:
        known = {*able, FOLDER} if FILE in able else able
        raise TriptychError(f"a {method} cannot be written as {to!r}{did_you_mean(to, known)}")
    return (named + read)[0]


def _write(request: ConversionRequest, wanted: Format, artifact: Artifact) -> list[str]:
    if request.out.suffix != wanted.suffixes[0]:
        raise TriptychError(f"{request.out} must end in {wanted.suffixes[0]} to be a {wanted.name}")
    base = request.place.open() if request.place else None
    return save(artifact, request.out, to=wanted.name, base=base, thumbnail=request.thumbnail)


def _write_base(
    request: ConversionRequest,
    base: Base,
    difference: Tensors,
    stated: Mapping[str, str],
    header: Mapping[str, str] | None = None,
) -> list[str]:
    """Write a base in the requested precision, else in that of the checkpoint, else in float16.

    Args:
        stated: entries for the metadata.
        header: the metadata of the base's own file, where only its layout changes.
    """
    from ..base.device import DTYPES
    from .export import Change, write_diffusers_folder, write_single_file

    source = Path(base.name) if Path(base.name).is_file() else None
    dtype = DTYPES.get(request.precision, None if source else DTYPES["fp16"])
    change = Change(difference, request.strength)
    if request.to == FOLDER:
        rounded = write_diffusers_folder(base, request.out, change, dtype=dtype)
        return [rounded] if rounded else []
    if request.out.suffix != ".safetensors":
        raise TriptychError(f"{request.out} must end in .safetensors to be a {FILE}")
    family, prediction = base.description.family, base.process.prediction
    metadata = kept(header or {}, {**stated, **architecture(family, prediction, original=True)})
    notes = [write_single_file(base, request.out, change, source=source, dtype=dtype, metadata=metadata)]
    if family not in families():
        notes.append(f"programs open such a file by Stable Diffusion's own sizes, which {family} has not")
    return [note for note in notes if note]
