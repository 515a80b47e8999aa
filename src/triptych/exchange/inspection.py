"""Inspection of a file by its header: kind, format, family, sizes, words for prompts, training, safety.

Nothing here imports torch, so a file of gigabytes is inspected at once.
"""

from __future__ import annotations

import json
import tomllib
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

from ..errors import TriptychError
from ..files.hashes import hashes_of
from ..files.library import PICTURES, SUFFIXES, sidecar
from ..files.tensorfile import TensorFile
from .formats import recognise

SMALL = 64_000_000  # bytes, up to which a file is hashed by default
MIX = "triptych_mix"  # the metadata entry with the recipe of a mix
TRAINED = ("learning_rate", "steps", "batch_size_per_device", "lr_scheduler", "optimizer", "seed", "num_train_images",
           "num_epochs", "resolution", "sd_model_name", "base_model_version")  # fmt: skip  # of kohya's ss_ entries
SAFE = {
    "safetensors": "safetensors: numbers and text, nothing that can run",
    "pickle": "a pickle of tensors and plain values, of which nothing is run",
    "parts": "a pickle with objects beside its tensors: nothing of them is run here, other programs may make them",
    "picture": "a picture",
}


@dataclass(frozen=True)
class Inspection:
    """One file. `refused` says why it was not opened; then only path and bytes are known."""

    path: str
    bytes: int
    kind: str = ""
    format: str = ""
    family: str | None = None
    details: Mapping[str, str | int | float] = field(default_factory=dict)
    triggers: tuple[str, ...] = ()
    guesses: tuple[str, ...] = ()  # likely words from its training, where it states none
    tensors: int = 0
    numbers: str = ""  # the dtypes of its tensors: "F16", "F16 and F32"
    trained: Mapping[str, str] = field(default_factory=dict)
    described: Mapping[str, str] = field(default_factory=dict)  # title, description, license
    mixed: tuple[str, ...] = ()  # the recipe of a mix, one line for each file and for the way to mix
    hashes: Mapping[str, str] = field(default_factory=dict)
    left_out: str = ""  # parts of the file that are not read
    safe: str = ""
    fits: str = ""  # whether it fits the given base
    preview: str | None = None
    notes: tuple[str, ...] = ()  # one clause for each part that is not used
    refused: str = ""

    def to_json(self) -> str:
        return json.dumps(asdict(self))


def inspect(path: Path, *, base: str | None = None, hashed: bool = False) -> Inspection:
    """Inspect a file's header.

    Args:
        base: the name of a base that the file is checked against.
        hashed: hash the file whatever its size.

    Raises:
        TriptychError: the file is missing, of no known kind, damaged, or not safe to read.
    """
    file = TensorFile.open(path)
    found, size, beside = recognise(file), path.stat().st_size, sidecar(path)
    spec = {name.removeprefix("modelspec."): text for name, text in file.metadata.items() if name[:10] == "modelspec."}
    counted = Counter(layout.dtype for layout in file.layouts.values())
    hashes = asdict(hashes_of(path, file.data)) if hashed or size <= SMALL else _stated(file)
    described = {name: spec[name] for name in ("title", "author", "license", "date", "usage_hint") if spec.get(name)}
    if beside.description:
        described["note"] = beside.description
    says = tuple(dict.fromkeys((*found.triggers, *beside.triggers)))
    return Inspection(
        str(path), size, found.kind, found.format, found.family, found.details, says,
        () if says else found.guesses, len(file.layouts),
        " and ".join(dtype for dtype, _ in counted.most_common()), _trained(file), described, _mixed(file), hashes,
        file.missing_parts, SAFE["parts" if file.left_out else file.container],
        _fits(found.kind, found.family, base) if base else "",
        str(beside.preview) if beside.preview else None, found.notes,
    )  # fmt: skip


def inspect_all(places: list[Path], *, base: str | None = None, hashed: bool = False) -> Iterator[Inspection]:
    """Inspect files, and all files of tensors in folders. A file in a folder that cannot be opened is `refused`."""
    for place in places:
        inside = sorted(path for path in place.rglob("*") if _holds_tensors(path)) if place.is_dir() else [place]
        for path in inside:
            try:
                yield inspect(path, base=base, hashed=hashed)
            except TriptychError as error:
                if not place.is_dir():
                    raise
                yield Inspection(str(path), path.stat().st_size, refused=str(error))


def _holds_tensors(path: Path) -> bool:
    """Whether a file holds tensors: by its suffix, or, for a picture, by an embedding inside."""
    if not path.is_file():
        return False
    if path.suffix.lower() in PICTURES:
        try:
            return bool(recognise(TensorFile.open(path)))
        except TriptychError:
            return False
    return path.suffix.lower() in SUFFIXES


def _trained(file: TensorFile) -> dict[str, str]:
    stated = {name: file.metadata.get(f"ss_{name}", "") for name in TRAINED}
    return {name: text for name, text in stated.items() if text and text != "None"}


def _mixed(file: TensorFile) -> tuple[str, ...]:
    """The recipe of a mix in lines: the way to mix with its settings, then each file with its weight and hash."""
    try:
        recipe = tomllib.loads(file.metadata.get(MIX, ""))
        rows = [(row["file"], row.get("weight"), row.get("sha256", "")) for row in recipe.get("ingredient", ())]
        settings = {
            **recipe.get("settings", {}),
            **{key: recipe[key] for key in ("base", "rank", "vae") if key in recipe},
        }
    except (tomllib.TOMLDecodeError, KeyError, TypeError, AttributeError) as error:
        return (f"its recipe cannot be read: {error}",)
    if not rows:
        return ()
    said = "".join(f", {name} {value}" for name, value in settings.items())
    files = (
        f"{name}{'' if weight is None else f' x {weight:g}'}{f', sha256 {sha[:12]}' if sha else ''}"
        for name, weight, sha in rows
    )
    return (f"{recipe.get('method', '')}{said}", *files)


def _stated(file: TensorFile) -> dict[str, str]:
    """The hash over the tensors that the file itself states."""
    stated = file.metadata.get("sshs_model_hash") or file.metadata.get("modelspec.hash_sha256", "").removeprefix("0x")
    return {"autov3_stated": stated[:12]} if stated else {}


def _fits(kind: str, family: str | None, base: str) -> str:
    from ..base.opening.loading import family_of

    wanted = family_of(base)
    if family is None:
        return f"cannot be told from its header; {base} is {wanted}"
    if kind in ("checkpoint", "vae"):
        return f"it is a {kind} of {family}; {base} is {wanted}"
    return f"yes: both are {wanted}" if family == wanted else f"no: it is made for {family}, and {base} is {wanted}"
