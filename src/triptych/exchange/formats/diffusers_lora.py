"""LoRA by diffusers and peft: full module paths, with alphas in the metadata or in a second file.

Four ways of naming are read: peft's (`component.….to_q.lora_A.weight`), diffusers' of 2023 (`….to_q.lora.down.weight`,
of text encoders `….q_proj.lora_linear_layer.down.weight`; before that `….processor.to_q_lora.down.weight` and
`….self_attn.to_q_lora.down.weight`), and files that peft itself saved (`base_model.model.…`, `adapter_config.json`
beside them). A denoiser's LoRA may leave out the component (`save_lora_adapter`, `save_attn_procs`), or name it twice.
Alphas may be tensors, `….alpha`. Without any, alpha is the rank.
"""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from ...errors import TriptychError
from ...families import VAE, families, family_named
from ..alphas import alphas_of
from ..lora_files import artifact_of, recognised, refuse_all_but_lora, without_rank_0
from ..other_families import other_family
from ..word_files import BUNDLED
from . import Format, Recognised

if TYPE_CHECKING:
    from torch import Tensor

    from ...base import Base
    from ...files.tensorfile import TensorFile
    from ..artifact import Artifact

COMPONENTS = sorted({name for family in families().values() for name in family.components if name != VAE})
PARTS = tuple(f"{name}." for name in COMPONENTS)
DENOISER = family_named("sd1").denoiser  # the only denoiser when the oldest files were written
BARE = {  # component -> the starts of names that leave it out
    f"{DENOISER}.": (
        "down_blocks.", "up_blocks.", "mid_block.", "conv_in.", "conv_out.", "time_embedding.", "add_embedding.",
    ),
    "text_encoder.": ("text_model.",),
}  # fmt: skip
REPEATED = re.compile(rf"^(?:base_model\.model\.)?((?:{'|'.join(COMPONENTS)})\.)(?:\1|base_model\.model\.)*")
CONFIG = "lora_adapter_metadata"  # diffusers' metadata entry: JSON of "component.r", "component.lora_alpha", ...
BESIDE = "adapter_config.json"  # peft's
MAGNITUDE = "lora_magnitude_vector"
LORA = r"\.lora(?:_linear_layer)?\."
FORMS = (  # forms of names -> canonical names, applied in this order
    (r"^base_model\.model\.", ""),
    (r"^(text_encoder(?:_2)?)\.(encoder|embeddings|final_layer_norm)\.", r"\1.text_model.\2."),
    (r"\.self_attn\.to_([qkv])_lora\.", r".self_attn.\1_proj.lora."),
    (r"\.self_attn\.to_out_lora\.", ".self_attn.out_proj.lora."),
    (r"(?:\.processor)?\.(to_[qkv])_lora\.", r".\1.lora."),
    (r"(?:\.processor)?\.to_out_lora\.", ".to_out.0.lora."),
    (rf"(?:{LORA}|\.lora_)down(?:\.weight)?$", ".lora_A.weight"),
    (rf"(?:{LORA}|\.lora_)up(?:\.weight)?$", ".lora_B.weight"),
    (rf"{LORA}alpha$", ".alpha"),
    (r"\.(lora_[AB]|hada_w[12]_[ab]|hada_t[12]|lokr_[wt][12](?:_[ab])?)\.(?!weight$)[\w-]+(\.weight)?$", r".\1\2"),
    (r"\.lora_magnitude_vector(?:\.(?!weight$)[\w-]+)?(?:\.weight)?$", ".dora_scale"),
)
LEAF = re.compile(r"\.(lora_|hada_|lokr_|dora_scale|diff)")
T = TypeVar("T")


class DiffusersLora(Format):
    name = "diffusers-lora"
    kind = "lora"
    title = "LoRA and DoRA by full module paths, alphas in the metadata"
    suffixes = (".safetensors", ".bin")
    readers = ("diffusers", "peft")
    loses = "LoHa, LoKr, IA3, OFT, full changes, norms and biases are refused; embeddings within a LoRA are left out"

    checked = ("diffusers", "peft")

    def recognise(self, file: TensorFile) -> Recognised | None:
        names = [_canonical(name) for name in file.layouts if not name.startswith(BUNDLED)]
        known = [name for name in names if name.startswith(PARTS) and (LEAF.search(name) or name.endswith(".alpha"))]
        if len(known) < len(names) or not any(map(LEAF.search, known)) or other_family(file):
            return None
        return recognised(self.name, _layers(file.layouts), file)

    def read(self, file: TensorFile) -> Artifact:
        layers, _ = without_rank_0(_layers(file.tensors(name for name in file.layouts if not name.startswith(BUNDLED))))
        for leaves in layers.values():
            if "dora_scale" in leaves:  # peft has a vector over outputs
                leaves["dora_scale"] = leaves["dora_scale"].flatten().unsqueeze(1)
        config = _config(file)
        alphas = {path: _alpha(path, leaves, config) for path, leaves in layers.items()}
        return artifact_of(layers, {path: alpha for path, alpha in alphas.items() if alpha}, file)

    def write(
        self, artifact: Artifact, path: Path, base: Base | None = None, metadata: Mapping[str, str] | None = None
    ) -> str:
        from ...files.streaming import write_safetensors
        from ...patching.adapters import by_layer

        layers = by_layer(artifact.tensors)
        refuse_all_but_lora(layers, self.name)
        tensors: dict[str, Tensor] = {}
        for place, leaves in layers.items():
            tensors |= {f"{place}.{leaf}": leaves[leaf] for leaf in ("lora_A.weight", "lora_B.weight")}
            if "dora_scale" in leaves:
                if leaves["dora_scale"].shape[0] != leaves["lora_B.weight"].shape[0]:
                    raise TriptychError(f"{self.name} holds DoRA over outputs only, and {place} has it over inputs")
                tensors[f"{place}.{MAGNITUDE}"] = leaves["dora_scale"].flatten()
        config = {CONFIG: json.dumps(_peft_config(layers, alphas_of(layers, artifact.settings.alpha)))}
        write_safetensors(path, tensors, {**(metadata or {}), **config})
        return ""


def _canonical(name: str) -> str:
    name = REPEATED.sub(r"\1", name)
    for form, replacement in FORMS:
        name = re.sub(form, replacement, name)
    part = next((part for part, starts in BARE.items() if name.startswith(starts)), "")
    return f"{part}{name}"


def _layers(tensors: Mapping[str, T]) -> dict[str, dict[str, T]]:
    from ...patching.adapters import by_layer

    return by_layer({_canonical(name): tensor for name, tensor in tensors.items() if not name.startswith(BUNDLED)})


def _config(file: TensorFile) -> dict[str, Any]:
    """Ranks and alphas by part: `{component: {"r": 4, "lora_alpha": 8, ...}}`.

    Raises:
        TriptychError: the entry or file that should hold them is not JSON.
    """
    beside = file.path.with_name(BESIDE)
    try:
        if CONFIG in file.metadata:
            flat = dict(json.loads(file.metadata[CONFIG]))
            if not any(name.startswith(PARTS) for name in flat):  # for one network, by save_lora_adapter
                return dict.fromkeys(COMPONENTS, flat)
            return {
                part: {name[len(part) + 1 :]: value for name, value in flat.items() if name.startswith(f"{part}.")}
                for part in COMPONENTS
            }
        if beside.is_file():
            shared = dict(json.loads(beside.read_text(encoding="utf-8")))
            return dict.fromkeys(COMPONENTS, shared)
    except (ValueError, TypeError, OSError) as error:
        raise TriptychError(f"what says the alphas of {file.path} cannot be read: {error}") from error
    return {}


def _alpha(path: str, leaves: Mapping[str, Tensor], config: Mapping[str, Any]) -> float | None:
    """Alpha by peft's rule: from a pattern that matches the end of the path, else from the component.

    With rslora the scale is alpha / sqrt(rank), so alpha is multiplied by sqrt(rank) here.
    """
    part, _, inner = path.partition(".")
    own = config.get(part, {})
    alpha = own.get("lora_alpha", own.get("alpha"))
    for pattern, special in (own.get("alpha_pattern") or {}).items():
        if re.fullmatch(rf"(.*\.)?({pattern})", inner):
            alpha = special
            break
    if alpha is None:
        return None
    return float(alpha) * (math.sqrt(len(leaves["lora_A.weight"])) if own.get("use_rslora") else 1.0)


def _peft_config(layers: Mapping[str, Mapping[str, Tensor]], alphas: Mapping[str, float]) -> dict[str, Any]:
    """peft's configuration of each component: the most frequent rank and alpha, and patterns for the others.

    peft matches the ends of paths, so `text_model` is left out: only some versions of transformers have it.
    """
    config: dict[str, Any] = {}
    for part in dict.fromkeys(path.partition(".")[0] for path in layers):
        root = f"{part}.text_model." if part == "text_encoder" else f"{part}."
        own = {path.removeprefix(root): leaves for path, leaves in layers.items() if path.startswith(f"{part}.")}
        ranks = {path: len(leaves["lora_A.weight"]) for path, leaves in own.items()}
        scales = {path: alphas[root + path] for path in own}
        rank, alpha = _commonest(ranks.values()), _commonest(scales.values())
        config |= {
            f"{part}.r": rank, f"{part}.lora_alpha": alpha, f"{part}.target_modules": sorted(own),
            f"{part}.rank_pattern": {re.escape(path): value for path, value in ranks.items() if value != rank},
            f"{part}.alpha_pattern": {re.escape(path): value for path, value in scales.items() if value != alpha},
            f"{part}.use_dora": any("dora_scale" in leaves for leaves in own.values()),
        }  # fmt: skip
    return config


def _commonest(values: Iterable[T]) -> T:
    return Counter(values).most_common(1)[0][0]
