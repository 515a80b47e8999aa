"""Writes a base, with a change of its weights, as one file in the original layout or as a diffusers folder.

Tensors are made and written one at a time. A change is a set of differences. Each is scaled by a strength and added in
float32; the sum is cast to the precision of the file. The rounding error is reported.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ..base import Base
from ..base.description import FILE as DESCRIPTION
from ..base.opening.names import Origin, ema_key, origins
from ..errors import TriptychError
from ..files.atomic import replacing_entries, write_text
from ..files.checkpoint import DENOISER, EMA, NESTED, VAE
from ..files.streaming import DTYPES, Entry, Rounding, write_entries
from ..files.tensorfile import TensorFile
from ..patching.patch import check_fit
from .metadata import kept

Tensors = Mapping[str, Tensor]
Group = Mapping[str, Origin]  # the parameters that one key of a checkpoint holds, by their full names
INDEX = "model_index.json"
TYPES = {name: dtype for dtype, name in DTYPES.items()}


@dataclass(frozen=True)
class Change:
    """A change of a base's weights: `strength` times the differences, named "component.parameter"."""

    differences: Tensors = field(default_factory=dict)
    strength: float = 1.0

    def check(self, weights: Tensors) -> None:
        """Check that the differences fit these weights.

        Raises:
            OtherBaseError: a difference does not fit; the error names the first.
        """
        shapes = {name: weights[name].shape for name in self.differences if name in weights}
        check_fit("change of weights", self.differences, shapes)

    def to(self, name: str, weight: Tensor) -> Tensor:
        """The changed weight in float32, or the weight itself where nothing changes it."""
        if name not in self.differences or not self.strength:
            return weight
        return weight.float() + self.strength * self.differences[name].to(weight.device).float()


def write_single_file(
    base: Base,
    path: Path,
    change: Change | None = None,
    *,
    source: Path | None = None,
    dtype: torch.dtype | None = None,
    ema: bool = False,
    bake_vae: bool = False,
    metadata: Mapping[str, str] | None = None,
) -> str:
    """Write a base as one safetensors file in the original layout of its family.

    Args:
        source: the checkpoint the base was opened from. Its other tensors are kept, also those that no program reads.
            Averaged copies of weights are left out, since the change is not in them.
        dtype: of all weights; by default that of each weight in the checkpoint, or in the base.
        ema: the base was opened with the averaged weights of `source`.
        bake_vae: write the base's own autoencoder, not that of `source`.

    Returns:
        The loss as a clause, or "".

    Raises:
        TriptychError: the differences are for another base, the weights do not fit the precision, or the file cannot
            be written.
    """
    change, groups = change or Change(), _groups(base)
    ours = single_file_entries(base, change, dtype)
    if source is None:
        rounded = str(write_entries(path, ours, metadata or {}))
        return "; ".join(filter(None, (rounded, base.family.left_out)))
    file = TensorFile.open(source)
    entries = dict(_kept(file, groups, change, dtype, ema))
    if bake_vae:
        entries |= {key: entry for key, entry in ours.items() if key.startswith(VAE)}
    return str(write_entries(path, entries, kept(file.metadata, {}) | dict(metadata or {})))


def single_file_entries(base: Base, change: Change | None = None, dtype: torch.dtype | None = None) -> dict[str, Entry]:
    """Key in the original layout -> the entry that writes it, for all weights of a base.

    Raises:
        TriptychError: the differences are for another base, or the family has no layout of one file.
    """
    change, weights = change or Change(), weights_of_base(base)
    change.check(weights)
    return {key: _joined_entry(weights, group, change, dtype) for key, group in _groups(base).items()}


def weights_of_base(base: Base) -> dict[str, Tensor]:
    """All weights of a base by "component.parameter", as its files name them."""
    return {f"{part}.{name}": w for part, module in base.modules().items() for name, w in module.state_dict().items()}


def _groups(base: Base) -> dict[str, dict[str, Origin]]:
    """Key in the original layout -> the parameters of the base that it holds."""
    family = base.family
    if not family.prefix:
        raise TriptychError(f"bases of {family.title} have no layout of one file here: write a diffusers folder")
    groups: dict[str, dict[str, Origin]] = {}
    for part, module in base.modules().items():
        for name, origin in origins(family, part, _config(module), module.state_dict()).items():
            groups.setdefault(origin.key, {})[f"{part}.{name}"] = origin
    return {key: dict(sorted(group.items(), key=lambda pair: pair[1].third or 0)) for key, group in groups.items()}


def _config(module: nn.Module) -> dict[str, Any]:
    config: Any = module.config
    return dict(config) if isinstance(config, Mapping) else dict(config.to_dict())


def _joined_entry(weights: Tensors, group: Group, change: Change, dtype: torch.dtype | None) -> Entry:
    own = weights[next(iter(group))].dtype
    shape = _joined(group, lambda name: weights[name].to("meta")).shape
    return Entry(dtype or own, tuple(shape), lambda: _joined(group, lambda name: change.to(name, weights[name])))


def _joined(group: Group, weight: Callable[[str], Tensor]) -> Tensor:
    """The tensor of one key, joined from its parameters."""
    whole = torch.cat([weight(name) for name in group])
    origin = next(iter(group.values()))
    if origin.transposed:
        return whole.T
    return whole[..., None, None] if origin.pointwise else whole


def _kept(
    file: TensorFile, groups: Mapping[str, Group], change: Change, dtype: torch.dtype | None, ema: bool
) -> Iterator[tuple[str, Entry]]:
    """The entries of a checkpoint with the change added, without its averaged copies."""
    root = NESTED if any(name.startswith(NESTED) for name in file.layouts) else ""
    keys = [name.removeprefix(root) for name in file.layouts if name.startswith(root)]
    read = {
        key: root + (ema_key(key) if ema and key.startswith(DENOISER) else key)
        for key in keys
        if not key.startswith(EMA)
    }
    tensors = file.tensors(read.values())
    for key, name in read.items():
        layout = file.layouts[name]
        own = TYPES[layout.dtype]
        entry_type = dtype if dtype and own.is_floating_point else own
        yield key, Entry(entry_type, layout.shape, _changed(tensors[name], groups.get(key, {}), change))


def _changed(tensor: Tensor, group: Group, change: Change) -> Callable[[], Tensor]:
    if not change.strength or not group.keys() & change.differences.keys():
        return lambda: tensor

    def make() -> Tensor:
        none = torch.zeros(tensor.shape[0] // len(group), *tensor.shape[1:])
        difference = _joined(group, lambda name: change.differences.get(name, none).float())
        return tensor.float() + change.strength * difference.reshape(tensor.shape)

    return make


def write_diffusers_folder(
    base: Base, folder: Path, change: Change | None = None, *, dtype: torch.dtype | None = None
) -> str:
    """Write a base as a folder that diffusers' pipeline of its family opens.

    `model_index.json` is written last, so a folder that has it is complete. In an existing folder the components are
    replaced, and other files stay.

    Returns:
        The loss as a clause, or "".

    Raises:
        TriptychError: the differences are for another base, the weights do not fit the precision, or the folder cannot
            be written.
    """
    change, weights = change or Change(), weights_of_base(base)
    change.check(weights)
    folder, rounding = folder.absolute(), Rounding()
    with replacing_entries(folder, INDEX) as whole:
        for part, module in base.modules().items():
            _write_configuration(module, whole / part)
            entries = {
                _name_in_folder(part, name, module): Entry(
                    dtype or weight.dtype, tuple(weight.shape), _own(f"{part}.{name}", weight, change)
                )
                for name, weight in module.state_dict().items()
            }
            stem = "model" if part.startswith("text") else "diffusion_pytorch_model"
            write_entries(whole / part / f"{stem}.safetensors", entries, {}, rounding)
        for text in base.texts:
            text.tokenizer.save_pretrained(whole / text.name.replace("text_encoder", "tokenizer"))
        scheduler = _write_schedule(base, whole)
        if base.folder and (base.folder / DESCRIPTION).is_file():
            shutil.copyfile(base.folder / DESCRIPTION, whole / DESCRIPTION)
        write_text(whole / INDEX, json.dumps(_index(base, scheduler), indent=2, sort_keys=True) + "\n")
    return str(rounding)


def _write_configuration(module: Any, folder: Path) -> None:
    if hasattr(module, "save_config"):  # diffusers'
        module.save_config(folder)
    else:
        module.config.save_pretrained(folder)


def _own(name: str, weight: Tensor, change: Change) -> Callable[[], Tensor]:
    return lambda: change.to(name, weight)


def _name_in_folder(part: str, name: str, module: nn.Module) -> str:
    """The name of a weight. Text encoders have the prefix `text_model`, which every version of transformers reads."""
    return f"text_model.{name}" if part.startswith("text") and not hasattr(module, "text_model") else name


def _write_schedule(base: Base, folder: Path) -> str:
    """Write the noise schedule with the default sampler of the family's pipelines. Returns the sampler's class name."""
    import diffusers

    own = {entry: value for entry, value in base.process.schedule.config.items() if not entry.startswith("_")}
    name, usual = type(base.process.schedule).__name__, dict[str, Any]()
    place = base.family.configurations / "scheduler" / "scheduler_config.json"
    if place.is_file():
        usual = json.loads(place.read_text(encoding="utf-8"))
        name = str(usual.pop("_class_name"))
    getattr(diffusers, name).from_config({**usual, **own}).save_pretrained(folder / "scheduler")
    return name


def _networks(base: Base) -> dict[str, object]:
    """Component -> the library and class of its network."""
    return {
        name: [type(module).__module__.partition(".")[0], type(module).__name__]
        for name, module in base.modules().items()
    }


def _index(base: Base, scheduler: str) -> dict[str, object]:
    import diffusers

    parts: dict[str, object] = {
        "_diffusers_version": diffusers.__version__, **_networks(base), "scheduler": ["diffusers", scheduler],
    }  # fmt: skip
    for text in base.texts:
        parts[text.name.replace("text_encoder", "tokenizer")] = ["transformers", type(text.tokenizer).__name__]
    family = base.family
    return {**parts, "_class_name": family.pipeline, **dict(family.pipeline_entries)}
