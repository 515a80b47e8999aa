"""LoRA and its relatives by kohya's trainer and LyCORIS. A1111, Forge and ComfyUI read them.

A key has the prefix of its component (from the family), the module path with underscores, and the tensor's name:
`lora_down.weight`, `lora_up.weight`, `alpha`, or one of LyCORIS. For SDXL the denoiser's modules have the names of the
original layout. kohya's OFT has its own prefix. The alpha of every layer is written.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from ...families import KOHYA_DENOISER, KOHYA_OFT, families, family_named
from ..alphas import alphas_of, usual_rank
from ..lora_files import (
    LEAVES,
    artifact_of,
    dotted,
    from_original,
    lora_family,
    original_names,
    read_otherwise,
    recognised,
    without_rank_0,
)
from ..other_families import other_family
from ..word_files import BUNDLED, bundled_tensors
from . import Format, Recognised

if TYPE_CHECKING:
    from torch import Tensor

    from ...base import Base
    from ...files.tensorfile import TensorFile
    from ..artifact import Artifact

LYCORIS = "lycoris_"  # for denoisers, and for text encoders, which have other paths
TEXTS = {text.kohya: text.component for family in families().values() for text in family.texts}
PREFIXES = (KOHYA_DENOISER, *TEXTS, LYCORIS, KOHYA_OFT)
DOWN, UP = "lora_down.weight", "lora_up.weight"
T = TypeVar("T")


class KohyaLora(Format):
    name = "kohya-lora"
    kind = "lora"
    title = "LoRA, LoCon, LoHa, LoKr, GLoRA, IA3, DoRA, OFT, full changes and norms, on denoiser and text encoders"
    suffixes = (".safetensors", ".pt")
    readers = ("A1111", "Forge", "ComfyUI", "kohya", "diffusers")
    loses = "what some of these programs apply otherwise is below"
    checked = ("A1111", "ComfyUI", "kohya", "diffusers", "LyCORIS")
    words = True

    def recognise(self, file: TensorFile) -> Recognised | None:
        keys = [name for name in file.layouts if not name.startswith(BUNDLED)]
        if not keys or not all(name.startswith(PREFIXES) for name in keys) or other_family(file):
            return None
        return recognised(self.name, _layers({name: file.layouts[name] for name in keys}), file)

    def read(self, file: TensorFile) -> Artifact:
        layers, _ = without_rank_0(_layers(file.tensors(name for name in file.layouts if not name.startswith(BUNDLED))))
        family = lora_family(layers, file.metadata)
        original, denoiser = original_names(family), families().get(family or "", family_named("sdxl")).denoiser
        return artifact_of({_path(key, denoiser, original): leaves for key, leaves in layers.items()}, {}, file)

    def write(
        self, artifact: Artifact, path: Path, base: Base | None = None, metadata: Mapping[str, str] | None = None
    ) -> str:
        import torch

        from ...files.streaming import write_safetensors
        from ...patching.adapters import by_layer
        from ..metadata import IMPLEMENTATION, implementation

        layers = by_layer(artifact.tensors)
        names, prefixes = _names(artifact, layers, base)
        note = read_otherwise(layers)
        layers, alphas = _one_alpha(layers, alphas_of(layers, artifact.settings.alpha))
        back = {LEAVES[DOWN]: DOWN, LEAVES[UP]: UP}
        tensors: dict[str, Tensor] = {}
        for place, leaves in layers.items():
            part, _, inner = place.partition(".")
            key = f"{prefixes[part]}{names.get(place, inner).replace('.', '_')}"
            tensors |= {f"{key}.{back.get(leaf, leaf)}": tensor for leaf, tensor in leaves.items()}
            if place in alphas:
                tensors[f"{key}.alpha"] = torch.tensor(alphas[place])
        tensors |= bundled_tensors(artifact.beside.words)
        plain = all({"lora_A.weight"} <= leaves.keys() and "dora_scale" not in leaves for leaves in layers.values())
        network = {
            "ss_network_module": "networks.lora" if plain else "lycoris.kohya",
            "ss_network_dim": str(usual_rank(layers) or artifact.settings.rank),
            "ss_network_alpha": str(next(iter(alphas.values()), artifact.settings.alpha)),
            **({IMPLEMENTATION: implementation("sdxl")} if names and metadata else {}),
        }  # fmt: skip
        write_safetensors(path, tensors, {**(metadata or {}), **network})
        return note


def _one_alpha(
    layers: Mapping[str, Mapping[str, Tensor]], alphas: Mapping[str, float]
) -> tuple[dict[str, dict[str, Tensor]], dict[str, float]]:
    """Give all layers of LoRA one alpha, and scale `lora_up` to keep their effect.

    diffusers uses one alpha for all layers of a file, so several alphas would change its pictures.
    """
    up = LEAVES[UP]
    known = [alphas[path] for path, leaves in layers.items() if up in leaves]
    common = max(known, key=known.count, default=1.0)
    scaled, changed = dict(alphas), {path: dict(leaves) for path, leaves in layers.items()}
    for path, leaves in changed.items():
        if up in leaves and alphas[path] != common:
            leaves[up] = leaves[up] * (alphas[path] / common)
            scaled[path] = common
    return changed, scaled


def _layers(tensors: Mapping[str, T]) -> dict[str, dict[str, T]]:
    """Group tensors by the key of their layer, which ends at the first dot."""
    found: dict[str, dict[str, T]] = {}
    for name, tensor in tensors.items():
        key, _, leaf = name.partition(".")
        found.setdefault(key, {})[LEAVES.get(leaf, leaf)] = tensor
    return found


def _path(key: str, denoiser: str, original: Mapping[str, str]) -> str:
    """The path of a layer, "component.module".

    Raises:
        TriptychError: the key names no module.
    """
    prefix = next(prefix for prefix in PREFIXES if key.startswith(prefix))
    inner = from_original(dotted(key.removeprefix(prefix)), original)
    component = "text_encoder" if inner.startswith("text_model.") and prefix == LYCORIS else TEXTS.get(prefix, denoiser)
    return f"{component}.{inner}"


def _names(
    artifact: Artifact, layers: Mapping[str, Any], base: Base | None
) -> tuple[Mapping[str, str], Mapping[str, str]]:
    """The denoiser's layers whose names differ from diffusers', and the prefix of each component.

    A base whose structure differs from its family's keeps diffusers' names: the original names would mean other layers.
    """
    from ...base.opening.names import denoiser_modules
    from ...base.opening.single import configuration

    if base is not None:
        family = base.family
    else:
        found = lora_family(layers, {}) or artifact.provenance.get("family", "")
        family = families().get(found, family_named("sd1"))
    if not family.original_lora:
        return {}, family.kohya_prefixes
    usual = denoiser_modules(configuration(family.configurations, family.denoiser))
    as_usual = base is None or denoiser_modules(dict(base.denoiser.module.config)).items() <= usual.items()
    names = {f"{family.denoiser}.{ours}": theirs for ours, theirs in usual.items()} if as_usual else {}
    return names, family.kohya_prefixes
