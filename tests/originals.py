"""Checkpoints in the original layout, made without any writer of triptych's: names and shapes are those of sd-mecha's
lists (an independent package), with widths divided so that they are small; values are random.

For Stable Diffusion 2, of which it has no list, the names are put together from the lists: the UNet's are those of
Stable Diffusion 1 (its projections are linear layers), the text encoder's those of SDXL's OpenCLIP, with 24 layers.
"""

from __future__ import annotations

import json
from functools import cache
from importlib.metadata import distribution
from pathlib import Path
from typing import Any

import torch
import yaml
from safetensors.torch import save_file
from torch import Tensor

from triptych.families import FOLDER as FAMILIES

Shapes = dict[str, tuple[int, ...]]
CONFIGS = "sd_mecha/extensions/builtin/model_configs"
LISTS = Path(str(distribution("sd-mecha").locate_file(CONFIGS)))  # found without an import, which is slow
WIDTHS = {768: 12, 3072: 48, 1024: 16, 2048: 32, 2816: 44}  # text, SDXL's context, SDXL's pooled text with sizes
UNET, VAE = "model.diffusion_model.", "first_stage_model."


@cache
def listed(name: str) -> dict[str, dict[str, Any]]:
    """sd-mecha's list: component -> key -> what is known of it."""
    text = (LISTS / f"{name}.yaml").read_text()
    found: dict[str, dict[str, Any]] = yaml.load(text, getattr(yaml, "CSafeLoader", yaml.SafeLoader))["components"]
    return found


def real_shapes(family: str) -> dict[str, Shapes]:
    """Part -> key in the checkpoint -> shape, in the real size; parts as in diffusers."""
    lists = listed("sdxl-sgm" if family == "sdxl" else "sd1-ldm")
    shapes = {
        part: {key: tuple(known["shape"]) for key, known in lists[component].items() if key not in SIGNS}
        for part, component in (("unet", "diffuser"), ("vae", "vae"), ("text_encoder", "clip_l"))
    }
    if family == "sdxl":
        shapes["text_encoder_2"] = {key: tuple(known["shape"]) for key, known in lists["clip_g"].items()}
    if family == "sd2":
        shapes["unet"] = {key: _of_sd2(key, shape) for key, shape in shapes["unet"].items()}
        shapes["text_encoder"] = _text_of_sd2()
    return shapes


SIGNS = ("v_pred", "ztsnr", "edm_vpred.sigma_max", "edm_vpred.sigma_min")


def _of_sd2(key: str, shape: tuple[int, ...]) -> tuple[int, ...]:
    if ".proj_in.weight" in key or ".proj_out.weight" in key:
        return shape[:2]
    return tuple(1024 if size == 768 else size for size in shape)


def _text_of_sd2() -> Shapes:
    found = {}
    for key, known in listed("sdxl-sgm")["clip_g"].items():
        if "resblocks" not in key or int(key.split("resblocks.")[1].split(".")[0]) < 24:
            shape = tuple(size * 4 // 5 if size % 1280 == 0 else size for size in known["shape"])
            found[key.replace("conditioner.embedders.1.", "cond_stage_model.")] = shape
    return found


def _small(part: str, size: int) -> int:
    if part == "vae":
        return size // 32 if size >= 128 else size
    if part in ("text_encoder", "text_encoder_2"):
        return size if size in (77, 49408) else size // 64
    return WIDTHS.get(size) or (size // 40 if size >= 320 else size)


def small_shapes(family: str) -> Shapes:
    shapes = real_shapes(family)
    return {
        key: tuple(_small(part, size) for size in shape) for part, keys in shapes.items() for key, shape in keys.items()
    }


def small_configurations(out: Path, family: str) -> Path:
    """The family's configurations with the widths of `small_shapes`."""
    for source in (FAMILIES / family).rglob("*.json"):
        config, part = json.loads(source.read_text()), source.parent.name
        for name in ("block_out_channels", "cross_attention_dim", "hidden_size", "intermediate_size", "projection_dim"):
            if name in config:
                value = config[name]
                many = [_small(part, size) for size in value] if isinstance(value, list) else _small(part, value)
                config[name] = many
        if part == "unet":
            heads = [2, 4, 8, 8] if family == "sd2" else [2, 4, 8]
            config |= {"attention_head_dim": 2 if family == "sd1" else heads, "norm_num_groups": 4, "sample_size": 16}
        if family == "sdxl" and part == "unet":
            config |= {"addition_time_embed_dim": 4, "projection_class_embeddings_input_dim": 44}
        config |= {"vae": {"norm_num_groups": 2}, "text_encoder": {"num_attention_heads": 2}}.get(part, {})
        config |= {"num_attention_heads": 2} if part == "text_encoder_2" else {}
        place = out / source.relative_to(FAMILIES / family)
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(json.dumps(config))
    return out


def values(shapes: Shapes, dtype: torch.dtype = torch.float16, seed: int = 0) -> dict[str, Tensor]:
    """Random tensors, in whole numbers where the key is a table of positions."""
    random = torch.Generator().manual_seed(seed)
    return {
        key: torch.arange(shape[-1])[None]
        if key.endswith("position_ids")
        else (torch.randn(shape, generator=random) * 0.2).to(dtype)
        for key, shape in shapes.items()
    }


def small_checkpoint(
    path: Path, family: str, dtype: torch.dtype = torch.float16, metadata: dict[str, str] | None = None, **more: Tensor
) -> dict[str, Tensor]:
    """Write one; what was written comes back."""
    tensors = values(small_shapes(family), dtype) | more
    save_file(tensors, path, metadata)
    return tensors
