"""LoRA and its relatives as kohya's trainer and LyCORIS name them, which A1111, Forge and ComfyUI read.

A key is the prefix of its component, which the family has, the module path with underscores, and the tensor:
`lora_down.weight`, `lora_up.weight`, `alpha`, or LyCORIS's. For SDXL the denoiser's modules have the names of the
original layout. Every layer's alpha is written.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from ...errors import TriptychError
from ...families import KOHYA_DENOISER, families, family_named
from ..lora_files import alphas_of, artifact_of, described, dotted, family_of, settled, triggers_of
from ..word_files import BUNDLED, bundled_words
from . import Format, Recognised

if TYPE_CHECKING:
    from torch import Tensor

    from ...base import Base
    from ...files.tensorfile import TensorFile
    from ..artifact import Artifact

LYCORIS = "lycoris_"  # of denoisers, and of text encoders whose paths say so
TEXTS = {text.kohya: text.component for family in families().values() for text in family.texts}
PREFIXES = (KOHYA_DENOISER, *TEXTS, LYCORIS)
DOWN, UP = "lora_down.weight", "lora_up.weight"
LEAVES = {DOWN: "lora_A.weight", UP: "lora_B.weight", "lora_A.default.weight": "lora_A.weight",
          "lora_B.default.weight": "lora_B.weight"}  # fmt: skip  # the rest are called as LyCORIS calls them
T = TypeVar("T")


class KohyaLora(Format):
    name = "kohya-lora"
    kind = "lora"
    title = "LoRA, LoCon, LoHa, LoKr, GLoRA, IA3, DoRA, OFT, full changes and norms, on denoiser and text encoders"
    suffixes = (".safetensors", ".pt")
    readers = ("A1111", "Forge", "ComfyUI", "kohya", "diffusers")

    def recognise(self, file: TensorFile) -> Recognised | None:
        keys = [name for name in file.layouts if not name.startswith(BUNDLED)]
        if not keys or not all(name.startswith(PREFIXES) for name in keys):
            return None
        layers = _layers({name: file.layouts[name] for name in keys})
        details = described(layers, file.metadata)
        text = sum(key.startswith("lora_te") for key in layers)
        details["of text encoders"] = text
        bundled = sorted(bundled_words(file.layouts))
        if bundled:
            details["embeddings within"] = ", ".join(bundled)
        return Recognised("lora", self.name, family_of(layers, file.metadata), details, triggers_of(file.metadata))

    def read(self, file: TensorFile) -> Artifact:
        tensors = file.tensors(name for name in file.layouts if not name.startswith(BUNDLED))
        layers = _layers(tensors)
        family = family_of(layers, file.metadata)
        named = {path: layers[key] for key, path in _paths(layers, family).items()}
        return artifact_of(*settled(named, {}), triggers_of(file.metadata), family)

    def write(
        self, artifact: Artifact, path: Path, base: Base | None = None, metadata: Mapping[str, str] | None = None
    ) -> str:
        import torch

        from ...files.streaming import write_safetensors
        from ...patching.adapters import by_layer

        layers = by_layer(artifact.tensors)
        names, prefixes = _names(artifact, layers, base)
        layers, alphas = _one_alpha(layers, alphas_of(layers, artifact.settings.alpha))
        back = {LEAVES[DOWN]: DOWN, LEAVES[UP]: UP}
        tensors: dict[str, Tensor] = {}
        for place, leaves in layers.items():
            part, _, inner = place.partition(".")
            key = f"{prefixes[part]}{names.get(place, inner).replace('.', '_')}"
            tensors |= {f"{key}.{back.get(leaf, leaf)}": tensor for leaf, tensor in leaves.items()}
            if place in alphas:
                tensors[f"{key}.alpha"] = torch.tensor(alphas[place])
        plain = all({"lora_A.weight"} <= leaves.keys() and "dora_scale" not in leaves for leaves in layers.values())
        told = {
            "ss_network_module": "networks.lora" if plain else "lycoris.kohya",
            "ss_network_dim": str(artifact.settings.rank),
            "ss_network_alpha": str(next(iter(alphas.values()), artifact.settings.alpha)),
        }  # fmt: skip
        write_safetensors(path, tensors, {**(metadata or {}), **told})
        return ""


def _one_alpha(
    layers: Mapping[str, Mapping[str, Tensor]], alphas: Mapping[str, float]
) -> tuple[dict[str, dict[str, Tensor]], dict[str, float]]:
    """Layers of LoRA brought to one alpha, the difference moved into `lora_up`.

    diffusers takes one alpha of the file for all layers, so where they have several its picture would be another.
    """
    up = LEAVES[UP]
    known = [alphas[path] for path, leaves in layers.items() if up in leaves]
    common = max(known, key=known.count, default=1.0)
    told, changed = dict(alphas), {path: dict(leaves) for path, leaves in layers.items()}
    for path, leaves in changed.items():
        if up in leaves and alphas[path] != common:
            leaves[up] = leaves[up] * (alphas[path] / common)
            told[path] = common
    return changed, told


def _layers(tensors: Mapping[str, T]) -> dict[str, dict[str, T]]:
    """By the key of their layer; the first dot ends it."""
    found: dict[str, dict[str, T]] = {}
    for name, tensor in tensors.items():
        key, _, leaf = name.partition(".")
        found.setdefault(key, {})[LEAVES.get(leaf, leaf)] = tensor
    return found


def _paths(keys: Iterable[str], family: str | None) -> dict[str, str]:
    """Each key with the path of its layer: "component.module".

    Where the file does not tell its family, names of the original layout are SDXL's.
    """
    from ...base.opening.names import denoiser_modules
    from ...base.opening.single import configuration

    known = families().get(family or "", family_named("sdxl"))
    original = {}
    if known.prefix:
        config = configuration(known.configurations, known.denoiser)
        original = {theirs: ours for ours, theirs in denoiser_modules(config).items()}
    return {key: _path(key, known.denoiser, original) for key in keys}


def _path(key: str, denoiser: str, original: Mapping[str, str]) -> str:
    """
    Raises:
        TriptychError: the key names no module.
    """
    prefix = next(prefix for prefix in PREFIXES if key.startswith(prefix))
    inner = dotted(key.removeprefix(prefix))
    if inner.startswith(("input_blocks.", "middle_block.", "output_blocks.", "time_embed.", "label_emb.", "out.")):
        if inner not in original:
            raise TriptychError(f"the key {key} names no module of the base that it was made for")
        inner = original[inner]
    component = "text_encoder" if inner.startswith("text_model.") and prefix == LYCORIS else TEXTS.get(prefix, denoiser)
    return f"{component}.{inner}"


def _names(
    artifact: Artifact, layers: Mapping[str, Any], base: Base | None
) -> tuple[Mapping[str, str], Mapping[str, str]]:
    """The denoiser's layers that have other names there than in diffusers, and the prefix of each component."""
    from ...base.opening.names import denoiser_modules
    from ...base.opening.single import configuration

    if base is not None:
        family, config = base.family, dict(base.denoiser.module.config)
    else:
        found = family_of(layers, {}) or artifact.provenance.get("family", "")
        family = families().get(found, family_named("sd1"))
        config = configuration(family.configurations, family.denoiser) if family.original_lora else {}
    original = denoiser_modules(config) if family.original_lora else {}
    return {f"{family.denoiser}.{ours}": theirs for ours, theirs in original.items()}, family.kohya_prefixes
