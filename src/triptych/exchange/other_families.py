"""Recognises LoRA files of model families that triptych has no base for, by the names of their layers.

Paths of layers have dots or, in kohya's files, underscores. Where several families share names, the metadata decides,
else the width of a layer.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from ..families import by_metadata
from ..files.tensorfile import TensorFile

LEAF = re.compile(r"[._](lora_(A|B|up|down)|lora\.(up|down)|hada_w1_a|lokr_w[12](_a)?|oft_blocks|diff)(\.|$)")
FORMS = (  # of a layer's path, dots and underscores alike -> family
    (r"lora_prior_", "Stable Cascade"),
    (r"transformer_blocks_\d+_.*(img|txt)_mlp", "Qwen-Image"),
    (r"double_stream_modules|transformer_double_blocks", "HunyuanVideo"),
    (r"single_transformer_blocks_\d+_|(double|single)_blocks_\d+_(img|txt|linear|modulation)", "Flux"),
    (r"joint_blocks_\d+_(x|context)_block|joint_transformer_blocks", "SD3"),
    (r"transformer_blocks_\d+_attn_(add_[qkv]_proj|to_add_out)|transformer_blocks_\d+_ff_context", "SD3"),
    (r"blocks_\d+_(self|cross)_attn_[qkvo](_|$)", "Wan"),
    (r"(layers|context_refiner|noise_refiner)_\d+_(attention_(qkv|to|out)|feed_forward)", "Lumina 2 or Z-Image"),
    (r"blocks_\d+_attn[12]_(Wqkv|q_proj|kv_proj|out_proj)", "HunyuanDiT"),
    (r"(^|_)caption_projection|adaln_single", "PixArt"),
)
STATED = {  # beginnings of modelspec.architecture and ss_base_model_version -> family
    "flux": "Flux", "sd3": "SD3", "stable-diffusion-3": "SD3", "stable-cascade": "Stable Cascade", "wan": "Wan",
    "hunyuan-video": "HunyuanVideo", "hunyuan_video": "HunyuanVideo", "hunyuan": "HunyuanDiT", "lumina": "Lumina 2",
    "qwen": "Qwen-Image", "chroma": "Chroma", "auraflow": "AuraFlow", "pixart": "PixArt",
    "stable-diffusion-xl-v1-refiner": "the SDXL refiner", "sdxl_refiner": "the SDXL refiner",
}  # fmt: skip
FLUX_WIDTH = 3072  # width of its transformer; SD3 has 1536 and 2432
REFINER_WIDTH = 1280  # width of the text states in the SDXL refiner's cross-attention
CROSS_READS = re.compile(r"attn2[._]to_[kv]\..*(lora_A|lora_down|lora\.down)")
TRANSFORMER = re.compile(r"^(transformer|lora_transformer|base_model_model_transformer)_")


def other_family(file: TensorFile) -> str | None:
    """The family of a LoRA that fits no base here; None where it may fit one, or the file is not a LoRA."""
    if not any(LEAF.search(name) for name in file.layouts):
        return None
    by_layers, known = _by_layers(file), by_metadata(file.metadata)
    if by_layers is None or (known and known.title in by_layers):
        return None
    return _stated(file.metadata) or by_layers


def _stated(metadata: Mapping[str, str]) -> str | None:
    stated = [metadata.get(name, "").lower() for name in ("modelspec.architecture", "ss_base_model_version")]
    return next((family for start, family in STATED.items() if any(text.startswith(start) for text in stated)), None)


def _by_layers(file: TensorFile) -> str | None:
    paths = [name.replace(".", "_") for name in file.layouts]
    for form, family in FORMS:
        if any(re.search(form, path) for path in paths):
            return "Flux" if family == "SD3" and FLUX_WIDTH in _widths(file) else family
    if any(TRANSFORMER.search(path) for path in paths):
        return "a diffusion transformer"
    read = (layout.shape for name, layout in file.layouts.items() if CROSS_READS.search(name))
    return "the SDXL refiner" if any(shape[1:] == (REFINER_WIDTH,) for shape in read) else None


def _widths(file: TensorFile) -> Iterator[int]:
    return (size for layout in file.layouts.values() for size in layout.shape)
