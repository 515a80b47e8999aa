"""Makes a mix: recognises the files, mixes them in the way of their kind, and writes one file with its recipe."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from torch import Tensor

from ..base import Base, Place
from ..base.device import DTYPES
from ..errors import Remedy, TriptychError, did_you_mean
from ..exchange.artifact import Artifact, Beside
from ..exchange.conversion import precision_of
from ..exchange.export import single_file_entries, write_single_file
from ..exchange.formats import artifact_in
from ..exchange.inspection import MIX
from ..exchange.metadata import architecture
from ..exchange.recipes import TRAINED_BY
from ..exchange.saving import save
from ..exchange.trained_words import stated_trigger
from ..files.atomic import check_place, write_text
from ..files.checkpoint import VAE
from ..files.streaming import Entry
from ..files.tensorfile import TensorFile
from ..methods import method_named
from .adapters import mix_adapters, needs_base
from .baking import baked, difference, extracted, layer_weights, whole
from .checkpoints import Checkpoint, check_same_kind, described, mix_checkpoints
from .differences import mix_differences
from .formulas import FORMULAS
from .low_rank import Ranks
from .nets import CHAIN, mix_nets
from .opening import Opened, open_files
from .recipe import recipe_text, with_hashes
from .request import Mix
from .words import AVERAGE, CONCATENATE, bundled, mix_words, without_words

SUM, EXTRACT, DIFFERENCE = "weighted-sum", "extract", "difference"
TAKEN_OUT = (EXTRACT, DIFFERENCE)  # of one checkpoint and another base
WAYS: Mapping[str, tuple[str, ...]] = {  # kind -> the ways to mix it, the default first
    "checkpoint": (SUM, *(name for name in FORMULAS if name != SUM), *TAKEN_OUT),
    "lora": tuple(name for name, formula in FORMULAS.items() if formula.changes),
    "dreambooth": (*(name for name, formula in FORMULAS.items() if formula.changes), EXTRACT),
    "textual-inversion": (AVERAGE, CONCATENATE),
    "hypernetwork": (CHAIN,),
    "baking": (SUM,),
}
INHERITED = ("family", "base", "prediction", "resolution")  # provenance that a mix has from its files


@dataclass(frozen=True)
class Mixed:
    """What was written, and one sentence for each thing that is lost or not used."""

    path: Path
    kind: str
    method: str
    notes: tuple[str, ...]


def merge(mix: Mix, out: Path, *, overwrite: bool = False) -> Mixed:
    """Make the mix and write it to `out` atomically.

    Raises:
        TriptychError: the files do not go together, the way to mix is unknown or lacks something, or the file cannot be
            written. Nothing is written then, and an old file stays.
    """
    if out.exists() and not overwrite:
        raise TriptychError(f"{out} exists already", Remedy.OTHER_PLACE, Remedy.OVERWRITE)
    check_place(out)
    if not mix.ingredients:
        raise TriptychError("there is nothing to mix: give the files")
    if mix.method in TAKEN_OUT and mix.ingredients[0].path.is_dir():
        return _taken_out(mix, out, None)
    opened = open_files(mix)
    kind = opened.kind
    mix = replace(mix, method=_method(mix, kind))
    _check_suffix(out, kind)
    _ = mix.parsed
    _check_single(mix, kind)
    if mix.method in TAKEN_OUT:
        return _taken_out(mix, out, opened)
    mix, notes = _used(mix, kind)
    if kind == "checkpoint":
        notes += _checkpoints(mix, opened, out)
    elif kind == "baking":
        notes += _baked(mix, opened, out)
    else:
        notes += _artifacts(mix, opened, out, kind)
    return Mixed(out, kind, mix.method, tuple(dict.fromkeys(notes)))


def _method(mix: Mix, kind: str) -> str:
    """
    Raises:
        TriptychError: files of this kind cannot be mixed like that.
    """
    ways = WAYS[kind]
    if not mix.method:
        return ways[0]
    if mix.method not in ways:
        known = {way for many in WAYS.values() for way in many}
        if mix.method not in known:
            raise TriptychError(f"there is no way to mix called {mix.method!r}{did_you_mean(mix.method, known)}")
        what = "LoRAs and differences in a checkpoint" if kind == "baking" else f"files of the kind {kind}"
        raise TriptychError(f"{mix.method} does not mix {what}; there are: {', '.join(ways)}")
    return mix.method


def _check_suffix(out: Path, kind: str) -> None:
    suffixes = (".safetensors", ".pt") if kind == "hypernetwork" else (".safetensors",)
    if out.suffix not in suffixes:
        raise TriptychError(f"{out} must end in {' or '.join(suffixes)}")


def _check_single(mix: Mix, kind: str) -> None:
    """
    Raises:
        TriptychError: there is one file, and it is not to be resized, to be taken apart, or to get an autoencoder.
    """
    settings = mix.parsed
    resized = kind == "lora" and (mix.rank or settings.energy or settings.ratio)
    baked_in = kind == "checkpoint" and mix.vae
    if len(mix.ingredients) == 1 and not (resized or baked_in) and mix.method not in TAKEN_OUT:
        more = {
            "lora": "; a single LoRA is resized by a rank, an energy or a ratio",
            "checkpoint": "; a single checkpoint takes an autoencoder, or LoRAs after it",
        }.get(kind, "")
        raise TriptychError(f"{mix.names[0]} alone is no mix: give two or more files{more}")


def _used(mix: Mix, kind: str, based: bool = False) -> tuple[Mix, list[str]]:
    """The mix without the choices that mean nothing for this kind, and a note on each of them.

    Args:
        based: whether a base is needed, whatever the kind.
    """
    notes, settings = [], mix.parsed
    if kind != "lora" and (mix.rank or settings.energy or settings.ratio):
        notes.append(f"a rank is for LoRAs, and this mix is a {'checkpoint' if kind == 'baking' else kind}: not used")
        mix = replace(mix, rank=0)
    if kind not in ("checkpoint", "baking"):
        given = (("autoencoder", mix.vae), ("precision", mix.precision != "auto"))
        notes += [f"the {what} is for checkpoints: not used" for what, value in given if value]
        mix = replace(mix, vae="", precision="auto")
    if mix.base and kind == "checkpoint" and not FORMULAS[mix.method].base:
        notes.append(f"the base is not used to mix: {mix.method} mixes weights, not differences")
        mix = replace(mix, base="")
    if mix.base and not based and kind not in ("checkpoint", "lora"):
        notes.append("the base is not used: these files are changes, which need none to be mixed")
        mix = replace(mix, base="")
    return mix, notes


def _checkpoints(mix: Mix, opened: Opened, out: Path) -> list[str]:
    files = [Checkpoint.open(file.path) for file in opened.files]
    base = Checkpoint.open(Path(mix.base)) if mix.base else None
    check_same_kind(files)
    vae, dtype = _vae(mix, files[0]), DTYPES.get(mix.precision)
    mix = with_hashes(mix)
    metadata = {**described(files[0], out.stem), **_stated(mix, opened.files)}
    return mix_checkpoints(mix, files, base, vae, out, dtype, metadata)


def _vae(mix: Mix, first: Checkpoint) -> Mapping[str, Entry]:
    """The entries of another autoencoder for a checkpoint of the original layout."""
    if not mix.vae:
        return {}
    entries = single_file_entries(_base_of(first.file, mix), dtype=None)
    return {key: entry for key, entry in entries.items() if key.startswith(VAE)}


def _base_of(file: TensorFile, mix: Mix) -> Base:
    """A checkpoint as a base in the precision of most of its tensors, so that they stay in the file."""
    return Place(str(file.path), device="cpu", precision=precision_of(file), vae=mix.vae).open()


def _baked(mix: Mix, opened: Opened, out: Path) -> list[str]:
    first, *others = mix.ingredients
    if first.weight not in (None, 1):
        raise TriptychError(
            f"{first.path.name} is the checkpoint that all is added to, so its weight is 1, not {first.weight:g}"
        )
    base = _base_of(opened.files[0], mix)
    artifacts = [artifact_in(*pair) for pair in zip(opened.files[1:], opened.found[1:], strict=True)]
    change, notes = baked(
        base, artifacts, [1.0 if ingredient.weight is None else ingredient.weight for ingredient in others]
    )
    mix = with_hashes(mix)
    spec = architecture(base.description.family, base.process.prediction, original=True)
    metadata = {**spec, "modelspec.title": out.stem, **_stated(mix, opened.files)}
    rounded = write_single_file(
        base, out, change, source=opened.files[0].path, dtype=DTYPES.get(mix.precision), bake_vae=bool(mix.vae),
        metadata=metadata,
    )  # fmt: skip
    return [
        *(note for artifact in artifacts for note in artifact.notes),
        *without_words(artifacts),
        *notes,
        *mix.unread(()),
        *([rounded] if rounded else []),
    ]


def _artifacts(mix: Mix, opened: Opened, out: Path, kind: str) -> list[str]:
    artifacts = [artifact_in(*pair) for pair in zip(opened.files, opened.found, strict=True)]
    notes = [note for artifact in artifacts for note in artifact.notes]
    if kind == "lora":
        needed = any(needs_base(artifact) for artifact in artifacts)
        weights = layer_weights(_cpu(mix.base), artifacts) if mix.base and needed else None
        if mix.base and not needed:
            notes.append("the base is not used: what these LoRAs change does not depend on it")
            mix = replace(mix, base="")
        made, more = mix_adapters(mix, artifacts, weights)
        words, doubled = bundled(artifacts)
        made, more = replace(made, beside=Beside(words=words)), [*more, *doubled]
    elif kind == "dreambooth":
        made, more = mix_differences(mix, artifacts)
    elif kind == "hypernetwork":
        made, more = mix_nets(mix, artifacts)
    else:
        made, more = mix_words(mix, artifacts, artifacts[0].settings.token)
    return [*notes, *more, *_save(mix, made, artifacts, opened.files, out)]


def _cpu(source: str) -> Base:
    return Place(source, device="cpu", precision="fp32").open()


def _taken_out(mix: Mix, out: Path, opened: Opened | None) -> Mixed:
    """What a checkpoint changes in another base, whole or as a LoRA; or a LoRA of DreamBooth's difference."""
    kind, what = ("lora", "a LoRA") if mix.method == EXTRACT else ("dreambooth", "a difference")
    if len(mix.ingredients) != 1:
        raise TriptychError(f"{mix.method} takes the change out of one file, and {len(mix.ingredients)} are given")
    mix, notes = _used(mix, kind, based=True)
    (ingredient,) = mix.ingredients
    _check_suffix(out, kind)
    if ingredient.weight not in (None, 1):
        notes.append(f"the weight of {ingredient.path.name} is not used: {what} is taken from all that it changes")
    changes: Mapping[str, Tensor]
    if opened and opened.kind == "dreambooth":
        source = artifact_in(opened.files[0], opened.found[0])
        changes, called = source.tensors, ingredient.path.name
    else:
        if not mix.base:
            raise TriptychError(f"{what} is taken from {ingredient.path.name} and another base", Remedy.NAME_BASE)
        after, before = _cpu(str(ingredient.path)), _cpu(mix.base)
        origin = {"family": before.description.family, "base": before.name, "prediction": before.process.prediction}
        origin |= {"says": stated_trigger(opened.files[0].metadata)} if opened else {}
        source = Artifact("dreambooth", method_named("dreambooth").configure(), {}, origin)
        changes, called = difference(after, before), f"the difference of {ingredient.path.name}"
    if mix.method == DIFFERENCE:
        made, more = whole(changes, called)
    else:
        settings = mix.parsed
        mix = replace(mix, rank=mix.rank or (0 if settings.energy or settings.ratio else 32))
        made, more = extracted(changes, Ranks(mix.rank, settings.energy, settings.ratio), called)
    files = opened.files if opened else []
    reads = ("energy", "ratio") if mix.method == EXTRACT else ()
    notes += [*more, *mix.unread(reads), *_save(mix, made, [source], files, out)]
    return Mixed(out, kind, mix.method, tuple(notes))


def _save(mix: Mix, made: Artifact, artifacts: Sequence[Artifact], files: Sequence[TensorFile], out: Path) -> list[str]:
    """Write a mixed artifact in the layout that most programs read, with its recipe and its origin."""
    hashed = with_hashes(mix) if all(ingredient.path.is_file() for ingredient in mix.ingredients) else mix
    says = dict.fromkeys(a.provenance["says"] for a in artifacts if a.provenance.get("says"))
    first = artifacts[0].provenance
    provenance = {
        **{name: first[name] for name in INHERITED if first.get(name)},
        **({"says": ", ".join(says)} if says else {}),
        TRAINED_BY: f"a mix of {', '.join(mix.names)}",
    }
    headers = {} if out.suffix == ".pt" else _stated(hashed, files)
    made = replace(made, provenance=provenance, beside=Beside("", headers, made.beside.words))
    to = "a1111-hypernetwork" if out.suffix == ".pt" else made.kind.exports_as[0]
    notes = save(made, out, to=to)
    if out.suffix == ".pt":
        beside = out.with_suffix(".toml")
        write_text(beside, recipe_text(hashed))
        notes.append(f"a .pt file has no place for the recipe: it is in {beside.name}")
    return notes


def _stated(mix: Mix, files: Sequence[TensorFile]) -> dict[str, str]:
    """The entries of the metadata that only a mix has: its recipe, its ancestors, their licences."""
    licences = dict.fromkeys(f.metadata["modelspec.license"] for f in files if f.metadata.get("modelspec.license"))
    titles = [file.metadata.get("modelspec.title") or file.path.stem for file in files] or mix.names
    return {
        MIX: recipe_text(mix),
        "modelspec.merged_from": ", ".join(titles),
        **({"modelspec.license": "; ".join(licences)} if licences else {}),
    }
