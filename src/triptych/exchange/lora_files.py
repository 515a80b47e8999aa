"""Functions shared by the layouts of LoRA files: module paths, families, layers of rank 0."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, TypeVar

from ..errors import TriptychError
from ..families import by_context_width, by_metadata, families, family_named
from ..patching.adapters import BIASES, Shaped, algorithm_of, rank_of
from ..units import counted, listed
from .alphas import settled
from .metadata import stated_prediction
from .trained_words import stated_trigger
from .word_files import bundled_words

if TYPE_CHECKING:
    from torch import Tensor

    from ..files.tensorfile import TensorFile
    from .artifact import Artifact
    from .formats import Recognised

WORDS = (  # parts of module paths that contain an underscore
    "down_blocks", "up_blocks", "mid_block", "transformer_blocks", "to_q", "to_k", "to_v", "to_out", "proj_in",
    "proj_out", "conv_in", "conv_out", "conv_norm_out", "conv_shortcut", "time_emb_proj", "time_embedding",
    "add_embedding", "class_embedding", "linear_1", "linear_2", "text_model", "text_projection", "self_attn", "q_proj",
    "k_proj", "v_proj", "out_proj", "final_layer_norm", "layer_norm1", "layer_norm2", "token_embedding",
    "position_embedding", "input_blocks", "middle_block", "output_blocks", "in_layers", "out_layers", "emb_layers",
    "skip_connection", "time_embed", "label_emb", "feed_forward", "noise_refiner", "context_refiner",
)  # fmt: skip
INPUTS = ("lora_A.weight", "hada_w1_b", "diff")  # tensors whose second axis is the input width of the layer
KRONECKER = (("lokr_w1", "lokr_w1_b"), ("lokr_w2", "lokr_w2_b"))  # or the product of two such axes is it
ORIGINAL = ("input_blocks.", "middle_block.", "output_blocks.", "time_embed.", "label_emb.", "out.")
LEAVES = {  # kohya's names of tensors -> ours; the rest are called as LyCORIS calls them
    "lora_down.weight": "lora_A.weight", "lora_up.weight": "lora_B.weight", "lora_A.default.weight": "lora_A.weight",
    "lora_B.default.weight": "lora_B.weight",
}  # fmt: skip
READ_OTHERWISE = {  # found by running the programs' own code; docs/files.md has the commits
    "DoRA over outputs": "A1111 and ComfyUI apply it otherwise, kohya's networks.lora leaves dora_scale out",
    "DoRA over inputs": "kohya's networks.lora leaves dora_scale out",
    "GLoRA": "A1111 fails on it, kohya's networks.lora does not read it",
    "IA3": "A1111 fails on convolutions of it, ComfyUI and kohya's networks.lora do not read it",
    "OFT": "ComfyUI squares strengths other than 1, limits it otherwise, leaves out rescale; kohya reads its own alone",
    "BOFT": "ComfyUI squares strengths other than 1, kohya does not read it",
    "SVDiff": "no other program reads it in this layout, svdiff-pytorch reads the layout svdiff",
}
S = TypeVar("S", bound=Shaped)


def dotted(key: str) -> str:
    """The module path with dots, from a key that spells it with underscores.

    `down_blocks_0_attentions_1_transformer_blocks_0_attn1_to_out_0` -> `down_blocks.0.attentions.1....to_out.0`.
    """
    parts, rest = [], key
    while rest:
        fits = [word for word in WORDS if rest == word or rest.startswith(f"{word}_")]
        word = max(fits, key=len, default=rest.partition("_")[0])
        parts.append(word)
        rest = rest[len(word) + 1 :]
    return ".".join(parts)


def lora_family(layers: Mapping[str, Mapping[str, Shaped]], metadata: Mapping[str, str]) -> str | None:
    """The family of a LoRA: by the input width of cross-attention, else by the metadata."""
    for path, leaves in layers.items():
        if path.replace(".", "_").endswith(("attn2_to_k", "attn2_to_v")):
            width = _input_width(leaves)
            if width is not None:
                found = by_context_width(width)
                return found.name if found else None
    if any(path.startswith(("text_encoder_2", "lora_te2_")) for path in layers):
        return "sdxl"
    stated = by_metadata(metadata)
    return stated.name if stated else None


def _input_width(leaves: Mapping[str, Shaped]) -> int | None:
    """The input width of a layer; None where its tensors do not show it."""
    for leaf in INPUTS:
        if leaf in leaves and len(leaves[leaf].shape) > 1:
            return leaves[leaf].shape[1]
    factors = [leaves[leaf].shape for pair in KRONECKER for leaf in pair if leaf in leaves]
    if len(factors) == len(KRONECKER) and all(len(shape) > 1 for shape in factors):
        return factors[0][1] * factors[1][1]
    return None


def described(layers: Mapping[str, Mapping[str, Shaped]], metadata: Mapping[str, str]) -> dict[str, str | int | float]:
    """Details of a LoRA: algorithms, ranks, alpha where the metadata states it, and the number of layers."""
    kinds, ranks = dict[str, int](), set[int]()
    for path, leaves in layers.items():
        algorithm = algorithm_of(path, leaves)
        name = f"{algorithm.name} with DoRA" if "dora_scale" in leaves else algorithm.name
        kinds[name] = kinds.get(name, 0) + 1
        rank = rank_of(algorithm, leaves)
        ranks |= set() if rank is None else {rank}
    details: dict[str, str | int | float] = {"algorithm": ", ".join(kinds)}
    if ranks:
        details["rank"] = min(ranks) if len(ranks) == 1 else f"{min(ranks)} to {max(ranks)}"
    if "ss_network_alpha" in metadata:
        details["alpha"] = metadata["ss_network_alpha"]
    return details | {"layers": len(layers)}


def without_rank_0(layers: Mapping[str, Mapping[str, S]]) -> tuple[dict[str, dict[str, S]], tuple[str, ...]]:
    """The layers of rank above 0, and a note on those of rank 0, which some programs write."""
    kept, dropped = dict[str, dict[str, S]](), list[str]()
    for path, leaves in layers.items():
        empty = any(0 in leaf.shape for leaf in leaves.values())
        if empty:
            dropped.append(path)
        else:
            kept[path] = dict(leaves)
    if not dropped:
        return kept, ()
    if not kept:
        raise TriptychError(f"all {len(dropped)} layers are of rank 0: there is nothing to attach")
    return kept, (f"skipped {counted(len(dropped), 'layer')} of rank 0, which changes nothing ({listed(dropped)})",)


def original_names(family: str | None) -> dict[str, str]:
    """Modules of the original layout -> diffusers', for a family's denoiser. An unknown family counts as SDXL."""
    from ..base.opening.names import denoiser_modules
    from ..base.opening.single import configuration

    known = families().get(family or "", family_named("sdxl"))
    if not known.prefix:
        return {}
    config = configuration(known.configurations, known.denoiser)
    return {original: ours for ours, original in denoiser_modules(config).items()}


def from_original(module: str, original: Mapping[str, str]) -> str:
    """A denoiser's module by diffusers' path, from a path in either layout.

    Raises:
        TriptychError: there is no such module.
    """
    if not module.startswith(ORIGINAL):
        return module
    if module not in original:
        raise TriptychError(f"its layer {module} is no module of the base that it was made for")
    return original[module]


def artifact_of(layers: Mapping[str, Mapping[str, Tensor]], alphas: Mapping[str, float], file: TensorFile) -> Artifact:
    """A LoRA by another program, from layers with canonical paths. Its provenance is what its header states.

    Args:
        alphas: see `settled`.
    """
    from ..methods import method_named
    from .artifact import Artifact

    tensors, rank, alpha = settled(layers, alphas)
    settings = method_named("lora").configure({"rank": rank, "alpha": alpha})
    stated = {
        "says": stated_trigger(file.metadata), "family": lora_family(layers, file.metadata) or "",
        "prediction": stated_prediction(file.metadata),
    }  # fmt: skip
    return Artifact("lora", settings, tensors, {name: text for name, text in stated.items() if text})


def recognised(name: str, layers: Mapping[str, Mapping[str, Shaped]], file: TensorFile) -> Recognised:
    """Describe a LoRA in the layout `name` by its header and its layers.

    Raises:
        TriptychError: the tensors of a layer do not fit together, or all layers are of rank 0.
    """
    from .formats import Recognised

    layers, notes = without_rank_0(layers)
    details = described(layers, file.metadata)
    details["of text encoders"] = sum(path.startswith(("text", "lora_te")) for path in layers)
    bundled = sorted(bundled_words(file.layouts))
    if bundled:
        details["embeddings within"] = ", ".join(bundled)
    says = stated_trigger(file.metadata)
    return Recognised("lora", name, lora_family(layers, file.metadata), details, (says,) if says else (), notes=notes)


def refuse_all_but_lora(layers: Mapping[str, Mapping[str, Shaped]], layout: str) -> None:
    """Check that a layout that holds only LoRA can hold these layers.

    Raises:
        TriptychError: a layer is something else; the error names it.
    """
    for path, leaves in layers.items():
        algorithm = algorithm_of(path, leaves)
        if algorithm.name != "LoRA" or "lora_mid.weight" in leaves or any(leaf in leaves for leaf in BIASES):
            raise TriptychError(
                f"{layout} holds LoRA only, and {path} has {algorithm.name} with a form of its own: use kohya"
            )


def read_otherwise(layers: Mapping[str, Mapping[str, Shaped]]) -> str:
    """A note on programs that apply these layers differently, or not at all; "" where there are none."""
    kinds = {kind_of(path, leaves) for path, leaves in layers.items()}
    return "; ".join(f"{kind}: {READ_OTHERWISE[kind]}" for kind in sorted(kinds & READ_OTHERWISE.keys()))


def kind_of(path: str, leaves: Mapping[str, Shaped]) -> str:
    """The kind of a layer, in the classes of `READ_OTHERWISE`."""
    if "dora_scale" in leaves:
        shape = leaves["dora_scale"].shape
        return "DoRA over outputs" if len(shape) < 2 or shape[0] > 1 else "DoRA over inputs"
    name = algorithm_of(path, leaves).name
    if name == "OFT" and len(leaves["oft_blocks"].shape) == 4:
        return "BOFT"
    return name
