"""What the layouts of LoRA files have in common: names spelled with underscores, alphas, families, words to say."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from ..errors import TriptychError
from ..families import by_context_width, by_metadata
from ..patching.adapters import BIASES, Shaped, algorithm_of, rank_of

if TYPE_CHECKING:
    from torch import Tensor

    from .artifact import Artifact

WORDS = (  # the parts of module paths that have an underscore within
    "down_blocks", "up_blocks", "mid_block", "transformer_blocks", "to_q", "to_k", "to_v", "to_out", "proj_in",
    "proj_out", "conv_in", "conv_out", "conv_norm_out", "conv_shortcut", "time_emb_proj", "time_embedding",
    "add_embedding", "class_embedding", "linear_1", "linear_2", "text_model", "text_projection", "self_attn", "q_proj",
    "k_proj", "v_proj", "out_proj", "final_layer_norm", "layer_norm1", "layer_norm2", "token_embedding",
    "position_embedding", "input_blocks", "middle_block", "output_blocks", "in_layers", "out_layers", "emb_layers",
    "skip_connection", "time_embed", "label_emb", "feed_forward", "noise_refiner", "context_refiner",
)  # fmt: skip
INPUTS = ("lora_A.weight", "hada_w1_b", "diff")  # tensors whose second axis is what a layer reads
KRONECKER = (("lokr_w1", "lokr_w1_b"), ("lokr_w2", "lokr_w2_b"))  # or the product of two such axes


def dotted(key: str) -> str:
    """The module path that is spelled with underscores in `key`.

    `down_blocks_0_attentions_1_transformer_blocks_0_attn1_to_out_0` -> `down_blocks.0.attentions.1....to_out.0`.
    """
    parts, rest = [], key
    while rest:
        fits = [word for word in WORDS if rest == word or rest.startswith(f"{word}_")]
        word = max(fits, key=len, default=rest.partition("_")[0])
        parts.append(word)
        rest = rest[len(word) + 1 :]
    return ".".join(parts)


def family_of(layers: Mapping[str, Mapping[str, Shaped]], metadata: Mapping[str, str]) -> str | None:
    """By what cross-attention reads, else by what the file says of its base."""
    for path, leaves in layers.items():
        if path.replace(".", "_").endswith(("attn2_to_k", "attn2_to_v")):
            width = _reads(leaves)
            if width is not None:
                found = by_context_width(width)
                return found.name if found else None
    if any(path.startswith(("text_encoder_2", "lora_te2_")) for path in layers):
        return "sdxl"
    said = by_metadata(metadata)
    return said.name if said else None


def _reads(leaves: Mapping[str, Shaped]) -> int | None:
    """How wide is what a layer reads, where its tensors show it."""
    for leaf in INPUTS:
        if leaf in leaves and len(leaves[leaf].shape) > 1:
            return leaves[leaf].shape[1]
    factors = [leaves[leaf].shape for pair in KRONECKER for leaf in pair if leaf in leaves]
    if len(factors) == len(KRONECKER) and all(len(shape) > 1 for shape in factors):
        return factors[0][1] * factors[1][1]
    return None


def described(layers: Mapping[str, Mapping[str, Shaped]], metadata: Mapping[str, str]) -> dict[str, str | int | float]:
    """Algorithms, ranks, alpha where the metadata tells it, and how many layers of what change."""
    kinds, ranks = dict[str, int](), set[int]()
    for path, leaves in layers.items():
        one = algorithm_of(path, leaves)
        name = f"{one.name} with DoRA" if "dora_scale" in leaves else one.name
        kinds[name] = kinds.get(name, 0) + 1
        rank = rank_of(one, leaves)
        ranks |= set() if rank is None else {rank}
    told: dict[str, str | int | float] = {"algorithm": ", ".join(kinds)}
    if ranks:
        told["rank"] = min(ranks) if len(ranks) == 1 else f"{min(ranks)} to {max(ranks)}"
    if "ss_network_alpha" in metadata:
        told["alpha"] = metadata["ss_network_alpha"]
    return told | {"layers": len(layers)}


def triggers_of(metadata: Mapping[str, str]) -> tuple[str, ...]:
    """The phrase that the file states, else the most frequent tag of its training, where it is on most pictures."""
    if metadata.get("modelspec.trigger_phrase"):
        return (metadata["modelspec.trigger_phrase"],)
    try:
        folders = json.loads(metadata.get("ss_tag_frequency", "{}"))
        counts = {str(tag).strip(): int(n) for tags in folders.values() for tag, n in tags.items()}
        pictures = int(metadata.get("ss_num_train_images", "0"))
    except (ValueError, AttributeError, TypeError):
        return ()
    best = max(counts, key=lambda tag: counts[tag], default="")
    return (best,) if best and counts[best] * 2 > pictures else ()


def settled(
    layers: Mapping[str, Mapping[str, Tensor]], alphas: Mapping[str, float]
) -> tuple[dict[str, Tensor], int, float]:
    """Tensors by their canonical names, with the rank and alpha that all layers share, or an alpha for each layer.

    `alphas`: what the layout says of a layer beside its tensors. Without either it is the rank.
    """
    import torch

    known: dict[str, tuple[int, float]] = {}
    for path, leaves in layers.items():
        rank = rank_of(algorithm_of(path, leaves), leaves)
        if rank is not None:
            own = float(leaves["alpha"]) if "alpha" in leaves else alphas.get(path, 0.0)
            known[path] = rank, own or float(rank)
    common = set(known.values())
    tensors = {
        f"{path}.{leaf}": tensor
        for path, leaves in layers.items()
        for leaf, tensor in leaves.items()
        if leaf != "alpha" or path not in known
    }
    if len(common) != 1:
        tensors |= {f"{path}.alpha": torch.tensor(alpha) for path, (_, alpha) in known.items()}
    rank, alpha = max(known.values(), default=(1, 1.0))
    return tensors, rank, alpha


def alphas_of(layers: Mapping[str, Mapping[str, Tensor]], alpha: float) -> dict[str, float]:
    """The alpha of each layer that has a rank, where `alpha` is that of those without one of their own."""
    found = {}
    for path, leaves in layers.items():
        rank = rank_of(algorithm_of(path, leaves), leaves)
        if rank is not None:
            found[path] = (float(leaves["alpha"]) if "alpha" in leaves else alpha) or float(rank)
    return found


def artifact_of(
    tensors: Mapping[str, Tensor], rank: int, alpha: float, triggers: Iterable[str], family: str | None
) -> Artifact:
    """A LoRA that another program made; its provenance keeps what its header told."""
    from ..methods import method_named
    from .artifact import Artifact

    says = next(iter(triggers), "")
    settings = method_named("lora").configure({"rank": rank, "alpha": alpha})
    told = {"says": says, "family": family or ""}
    return Artifact("lora", settings, dict(tensors), {name: text for name, text in told.items() if text})


def refuse_all_but_lora(layers: Mapping[str, Mapping[str, Shaped]], layout: str) -> None:
    """
    Raises:
        TriptychError: naming a layer that this layout has no names for.
    """
    for path, leaves in layers.items():
        one = algorithm_of(path, leaves)
        if one.name != "LoRA" or "lora_mid.weight" in leaves or any(leaf in leaves for leaf in BIASES):
            raise TriptychError(
                f"{layout} holds LoRA only, and {path} has {one.name} with a form of its own: use kohya"
            )
