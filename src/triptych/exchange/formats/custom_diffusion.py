"""Custom Diffusion by diffusers: the keys and values of cross-attention as whole weights, for `load_attn_procs`.

A name is `module.path.attn2.processor.to_k_custom_diffusion.weight`. Attention without own weights has an empty entry,
which only a pickle can hold. The weights are those of the base with the change added, so a base is needed to write
them, and they cannot be attached to another one. The word is a file of its own. diffusers 0.42 loads the file only
where `load_attn_procs` is given `_pipeline`, and does nothing without a word where it is not.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...errors import Remedy, TriptychError
from ...families import by_context_width
from . import Format, Recognised

if TYPE_CHECKING:
    from torch import Tensor

    from ...base import Base
    from ...files.tensorfile import TensorFile
    from ..artifact import Artifact

WHOLE = "_custom_diffusion.weight"
KINDS = ("to_k", "to_v")


class CustomDiffusionWeights(Format):
    name = "diffusers-custom-diffusion"
    kind = "lora"
    title = "Custom Diffusion: whole keys and values of cross-attention; written from full changes, with a base"
    suffixes = (".bin",)
    readers = ("diffusers",)
    loses = "the difference from the base, so it cannot be attached again; the word, which is a file of its own"
    checked = ("diffusers",)

    def recognise(self, file: TensorFile) -> Recognised | None:
        if not file.layouts or not all(name.endswith(WHOLE) for name in file.layouts):
            return None
        widths = {layout.shape[1] for name, layout in file.layouts.items() if name.endswith(f"to_k{WHOLE}")}
        found = by_context_width(widths.pop()) if len(widths) == 1 else None
        details: dict[str, str | int | float] = {"algorithm": "Custom Diffusion", "layers": len(file.layouts)}
        return Recognised(self.kind, self.name, found.name if found else None, details)

    def read(self, file: TensorFile) -> Artifact:
        raise TriptychError(
            f"{file.path} holds whole weights, and what of them is change cannot be told: attach the file that it was "
            "written from, or open it with diffusers"
        )

    def write(
        self, artifact: Artifact, path: Path, base: Base | None = None, metadata: Mapping[str, str] | None = None
    ) -> str:
        from ...files.pt import write_pt

        if base is None:
            raise TriptychError(
                f"{self.name} holds whole weights, which are the base's with the change", Remedy.NAME_BASE
            )
        changed = _whole(base, artifact, self.name)
        attentions = {name.rpartition(".")[0].rpartition(".")[0] for name in changed}
        for attention in attentions:
            for kind in KINDS:
                if f"{attention}.{kind}{WHOLE}" not in changed:
                    raise TriptychError(f"{self.name} needs both keys and values, and {attention} has no {kind}")
        others = [name for name in base.denoiser.module.attn_processors if name not in attentions]
        write_pt(path, {**changed, **{name: dict[str, Any]() for name in others}})
        return ""


def _whole(base: Base, artifact: Artifact, layout: str) -> dict[str, Tensor]:
    """The weights of the base with the changes added, float32, by their names in the file.

    Raises:
        TriptychError: a change is of another kind or layer, or does not fit the base.
    """
    start, layers = f"{base.denoiser.name}.", dict(base.denoiser.module.named_modules())
    found: dict[str, Tensor] = {}
    for name, change in artifact.tensors.items():
        layer = name.removeprefix(start).removesuffix(".diff")
        attention, _, kind = layer.rpartition(".")
        if f"{start}{layer}.diff" != name or not attention.endswith(".attn2") or kind not in KINDS:
            raise TriptychError(f"{layout} holds full changes of keys and values of cross-attention, not {name}")
        weight = layers[layer].weight.detach().float().cpu() if layer in layers else None
        if weight is None or weight.shape != change.shape:
            raise TriptychError(f"{name} is {tuple(change.shape)}, which does not fit the base {base.name}")
        found[f"{attention}.processor.{kind}{WHOLE}"] = weight + change.float().cpu()
    return found
