"""Names of modules in the original ("LDM", "sgm") layout of Stable Diffusion, derived from the configuration.

diffusers numbers blocks, and layers within blocks. The original code numbers all layers of the down path in one
sequence, and all of the up path in another. So names follow from the network's structure (CompVis `openaimodel.py` and
`model.py`, Stability AI's `sgm`, OpenCLIP's `transformer.py`). This module needs no torch.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ...families import VAE as VAE_PART
from ...families import Family, TextSide, by_structure
from ...files.checkpoint import EMA, VAE

RESNET = {
    "norm1": "in_layers.0", "conv1": "in_layers.2", "time_emb_proj": "emb_layers.1",
    "norm2": "out_layers.0", "conv2": "out_layers.3", "conv_shortcut": "skip_connection",
}  # fmt: skip
ATTENTION = ("to_q", "to_k", "to_v", "to_out.0")
TRANSFORMER_BLOCK = (
    "norm1", "norm2", "norm3", *(f"attn{n}.{leaf}" for n in (1, 2) for leaf in ATTENTION), "ff.net.0.proj", "ff.net.2",
)  # fmt: skip
Pairs = Iterator[tuple[str, str]]


def denoiser_modules(config: Mapping[str, Any]) -> dict[str, str]:
    """Module path in diffusers' `UNet2DConditionModel` of this configuration -> in the original `UNetModel`.

    Neither path has a prefix; in a checkpoint the original path has the prefix `model.diffusion_model.`. The modules
    are in the order of computation.
    """
    return dict(_unet(config))


def _unet(config: Mapping[str, Any]) -> Pairs:
    widths: Sequence[int] = config["block_out_channels"]
    layers = _per_block(config.get("layers_per_block", 2), len(widths))
    depths = _per_block(config.get("transformer_layers_per_block", 1), len(widths))
    depths_up = config.get("reverse_transformer_layers_per_block") or depths[::-1]
    yield "time_embedding.linear_1", "time_embed.0"
    yield "time_embedding.linear_2", "time_embed.2"
    if config.get("addition_embed_type") or config.get("class_embed_type"):
        embedding = "add_embedding" if config.get("addition_embed_type") else "class_embedding"
        yield f"{embedding}.linear_1", "label_emb.0.0"
        yield f"{embedding}.linear_2", "label_emb.0.2"
    yield "conv_in", "input_blocks.0.0"
    row = 1
    for block, kind in enumerate(config["down_block_types"]):
        come = widths[max(block - 1, 0)]
        for layer in range(layers[block]):
            shortcut = layer == 0 and come != widths[block]
            yield from _layer(f"down_blocks.{block}", layer, f"input_blocks.{row}", kind, depths[block], shortcut)
            row += 1
        if block < len(widths) - 1:
            yield f"down_blocks.{block}.downsamplers.0.conv", f"input_blocks.{row}.0.op"
            row += 1
    yield from _resnet("mid_block.resnets.0", "middle_block.0", shortcut=False)
    yield from _transformer("mid_block.attentions.0", "middle_block.1", _at(depths[-1], 0))
    yield from _resnet("mid_block.resnets.1", "middle_block.2", shortcut=False)
    row = 0
    for block, kind in enumerate(config["up_block_types"]):
        count = layers[::-1][block] + 1
        for layer in range(count):
            yield from _layer(f"up_blocks.{block}", layer, f"output_blocks.{row}", kind, depths_up[block], True)
            if layer == count - 1 and block < len(widths) - 1:
                place = 2 if "CrossAttn" in kind else 1
                yield f"up_blocks.{block}.upsamplers.0.conv", f"output_blocks.{row}.{place}.conv"
            row += 1
    yield "conv_norm_out", "out.0"
    yield "conv_out", "out.2"


def _per_block(value: Any, blocks: int) -> list[Any]:
    return list(value) if isinstance(value, (list, tuple)) else [value] * blocks


def _at(value: Any, layer: int) -> int:
    return int(value[layer] if isinstance(value, (list, tuple)) else value)


def _layer(here: str, layer: int, there: str, kind: str, depth: Any, shortcut: bool) -> Pairs:
    yield from _resnet(f"{here}.resnets.{layer}", f"{there}.0", shortcut)
    if "CrossAttn" in kind:
        yield from _transformer(f"{here}.attentions.{layer}", f"{there}.1", _at(depth, layer))


def _resnet(here: str, there: str, shortcut: bool) -> Pairs:
    for ours, original in RESNET.items():
        if ours != "conv_shortcut" or shortcut:
            yield f"{here}.{ours}", f"{there}.{original}"


def _transformer(here: str, there: str, depth: int) -> Pairs:
    inner = (f"transformer_blocks.{block}.{leaf}" for block in range(depth) for leaf in TRANSFORMER_BLOCK)
    for leaf in ("norm", "proj_in", *inner, "proj_out"):
        yield f"{here}.{leaf}", f"{there}.{leaf}"


VAE_RESNET = {"norm1": "norm1", "conv1": "conv1", "norm2": "norm2", "conv2": "conv2", "conv_shortcut": "nin_shortcut"}
VAE_ATTENTION = {"group_norm": "norm", "to_q": "q", "to_k": "k", "to_v": "v", "to_out.0": "proj_out"}


def vae_modules(config: Mapping[str, Any]) -> dict[str, str]:
    """Module path in diffusers' `AutoencoderKL` -> in the original one (`first_stage_model.` in checkpoints)."""
    return dict(_vae(config))


def _vae(config: Mapping[str, Any]) -> Pairs:
    widths: Sequence[int] = config["block_out_channels"]
    levels, layers = len(widths), int(config.get("layers_per_block", 1))
    yield "encoder.conv_in", "encoder.conv_in"
    for level in range(levels):
        changes = widths[max(level - 1, 0)] != widths[level]
        for layer in range(layers):
            here, there = f"encoder.down_blocks.{level}.resnets.{layer}", f"encoder.down.{level}.block.{layer}"
            yield from _vae_resnet(here, there, layer == 0 and changes)
        if level < levels - 1:
            yield f"encoder.down_blocks.{level}.downsamplers.0.conv", f"encoder.down.{level}.downsample.conv"
    yield from _vae_ends("encoder")
    yield "quant_conv", "quant_conv"
    yield "post_quant_conv", "post_quant_conv"
    yield "decoder.conv_in", "decoder.conv_in"
    yield from _vae_ends("decoder")
    for block, level in enumerate(reversed(range(levels))):
        changes = widths[min(level + 1, levels - 1)] != widths[level]
        for layer in range(layers + 1):
            here, there = f"decoder.up_blocks.{block}.resnets.{layer}", f"decoder.up.{level}.block.{layer}"
            yield from _vae_resnet(here, there, layer == 0 and changes)
        if level:
            yield f"decoder.up_blocks.{block}.upsamplers.0.conv", f"decoder.up.{level}.upsample.conv"


def _vae_ends(side: str) -> Pairs:
    for number in (0, 1):
        yield from _vae_resnet(f"{side}.mid_block.resnets.{number}", f"{side}.mid.block_{number + 1}", False)
    for ours, original in VAE_ATTENTION.items():
        yield f"{side}.mid_block.attentions.0.{ours}", f"{side}.mid.attn_1.{original}"
    yield f"{side}.conv_norm_out", f"{side}.norm_out"
    yield f"{side}.conv_out", f"{side}.conv_out"


def _vae_resnet(here: str, there: str, shortcut: bool) -> Pairs:
    for ours, original in VAE_RESNET.items():
        if ours != "conv_shortcut" or shortcut:
            yield f"{here}.{ours}", f"{there}.{original}"


CLIP_LAYER = (
    "layer_norm1", *(f"self_attn.{leaf}_proj" for leaf in ("q", "k", "v", "out")), "layer_norm2", "mlp.fc1", "mlp.fc2",
)  # fmt: skip
FUSED = ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj")  # one parameter in OpenCLIP, in this order
OPENCLIP_LAYER = {
    "layer_norm1": "ln_1", "layer_norm2": "ln_2", "mlp.fc1": "mlp.c_fc", "mlp.fc2": "mlp.c_proj",
    "self_attn.out_proj": "attn.out_proj", **dict.fromkeys(FUSED, "attn.in_proj"),
}  # fmt: skip
OPENCLIP_ENDS = {
    "embeddings.token_embedding": "token_embedding", "embeddings.position_embedding": "positional_embedding",
    "final_layer_norm": "ln_final", "text_projection": "text_projection",
}  # fmt: skip


def text_modules(config: Mapping[str, Any], side: TextSide) -> dict[str, str]:
    """Module path in transformers' `CLIPTextModel` (without `text_model.`) -> in the checkpoint, without the prefix.

    OpenCLIP stores queries, keys and values in one `attn.in_proj`, so three modules map to that name.
    """
    layers = range(int(config["num_hidden_layers"]))
    if not side.openclip:
        inner = [f"encoder.layers.{layer}.{leaf}" for layer in layers for leaf in CLIP_LAYER]
        ends = [name for name in OPENCLIP_ENDS if name != "text_projection"]
        return {name: name for name in (*ends, *inner)}
    return {
        **{ours: name for ours, name in OPENCLIP_ENDS.items() if ours != "text_projection" or side.projected},
        **{
            f"encoder.layers.{layer}.{leaf}": f"transformer.resblocks.{layer}.{OPENCLIP_LAYER[leaf]}"
            for layer in layers
            for leaf in CLIP_LAYER
        },
    }


def family_of_config(config: Mapping[str, Any]) -> Family:
    """The family whose layout a `UNet2DConditionModel` of this configuration has, whatever its sizes."""
    pooled = config.get("addition_embed_type") == "text_time"
    return by_structure(pooled=pooled, linear=bool(config.get("use_linear_projection")))


@dataclass(frozen=True)
class Origin:
    """The place of a parameter in a checkpoint."""

    key: str
    third: int | None = None  # which third of the rows of `key`
    transposed: bool = False
    pointwise: bool = False  # a linear layer stored as a 1 x 1 convolution


def origins(
    family: Family | None, part: str, config: Mapping[str, Any], parameters: Iterable[str], prefix: str | None = None
) -> dict[str, Origin]:
    """The place of each parameter of a component in a checkpoint.

    Args:
        family: of the checkpoint; None for an autoencoder, whose names are the same in all families.
        parameters: names in the module's state dict: "conv_in.weight".
        prefix: of the names in the checkpoint; by default the usual one.
    """
    if family is None or part == VAE_PART:
        usual, modules = VAE, vae_modules(config)
    elif part == family.denoiser:
        usual, modules = family.prefix, denoiser_modules(config)
    else:
        side = family.text(part)
        usual, modules = side.prefix, text_modules(config, side)
    found = {}
    for name in parameters:
        module, _, leaf = name.removeprefix("text_model.").rpartition(".")
        found[name] = _origin(module, f"{usual if prefix is None else prefix}{modules[module]}", leaf)
    return found


def _origin(module: str, original: str, leaf: str) -> Origin:
    if original.endswith(".attn.in_proj"):
        return Origin(f"{original}_{leaf}", third=FUSED.index(f"self_attn.{module.rpartition('.')[2]}"))
    if original.endswith(".positional_embedding"):
        return Origin(original)
    if original.endswith(".text_projection"):
        return Origin(original, transposed=True)  # OpenCLIP multiplies from the right
    pointwise = ".attn_1." in original and leaf == "weight" and not original.endswith(".norm")
    return Origin(f"{original}.{leaf}", pointwise=pointwise)


def ema_key(key: str) -> str:
    """The name of the averaged copy of a UNet's `key` in a checkpoint."""
    return EMA + key.removeprefix("model.").replace(".", "")
