"""LoRA from ComfyUI's own nodes: full module paths in the original layout.

`diffusion_model.input_blocks.1.1….to_q.lora_up.weight` belongs to the denoiser, `text_encoders.clip_l.….fc1.diff` to a
text encoder. `diff` and `diff_b` are changes of whole weights and biases.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, TypeVar

from ...families import families, family_named
from ..lora_files import LEAVES, artifact_of, from_original, lora_family, original_names, recognised, without_rank_0
from ..other_families import other_family
from ..word_files import BUNDLED
from . import Format, Recognised

if TYPE_CHECKING:
    from ...files.tensorfile import TensorFile
    from ..artifact import Artifact

DENOISER = "diffusion_model."
TEXTS = {
    "text_encoders.clip_l.transformer.": "text_encoder.", "text_encoders.clip_h.transformer.": "text_encoder.",
    "text_encoders.clip_g.transformer.": "text_encoder_2.",
}  # fmt: skip
T = TypeVar("T")


class ComfyLora(Format):
    name = "comfyui-lora"
    kind = "lora"
    title = "LoRA, LoHa, LoKr, OFT, full changes and biases by full module paths of the original layout"
    suffixes = (".safetensors",)
    readers = ("ComfyUI",)
    writes = False

    def recognise(self, file: TensorFile) -> Recognised | None:
        names = [name for name in file.layouts if not name.startswith(BUNDLED)]
        if not names or not all(name.startswith((DENOISER, *TEXTS)) for name in names):
            return None
        if any(_leaf(name) is None for name in names) or other_family(file):
            return None
        return recognised(self.name, _layers({name: file.layouts[name] for name in names}), file)

    def read(self, file: TensorFile) -> Artifact:
        layers, _ = without_rank_0(_layers(file.tensors(name for name in file.layouts if not name.startswith(BUNDLED))))
        family = lora_family(layers, file.metadata)
        original, denoiser = original_names(family), families().get(family or "", family_named("sdxl")).denoiser
        named = {}
        for path, leaves in layers.items():
            inner = path.removeprefix(DENOISER)
            named[path if inner == path else f"{denoiser}.{from_original(inner, original)}"] = leaves
        return artifact_of(named, {}, file)


def _leaf(name: str) -> tuple[str, str] | None:
    """The path of the layer and the canonical name of the tensor; None where it is not a tensor of a LoRA."""
    from ...patching.adapters import LEAVES as OURS

    for leaf in (*LEAVES, *OURS):
        if name.endswith(f".{leaf}") and leaf != "weight":
            return name.removesuffix(f".{leaf}"), LEAVES.get(leaf, leaf)
    return None


def _layers(tensors: Mapping[str, T]) -> dict[str, dict[str, T]]:
    """Group tensors by the path of their layer. Paths of text encoders become canonical."""
    found: dict[str, dict[str, T]] = {}
    for name, tensor in tensors.items():
        start = next((start for start in TEXTS if name.startswith(start)), "")
        path, leaf = _leaf(f"{TEXTS.get(start, '')}{name.removeprefix(start)}") or (name, "")
        found.setdefault(path, {})[leaf] = tensor
    return found
