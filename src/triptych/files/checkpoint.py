"""What a checkpoint file holds, told by its header alone: parts, family, variant, and what its UNet predicts.

The layout is the original one of Stable Diffusion ("LDM", and "sgm" for SDXL). Nothing here needs torch.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from .tensorfile import TensorFile

UNET, VAE, EMA = "model.diffusion_model.", "first_stage_model.", "model_ema."
TEXTS: Mapping[str, Mapping[str, str]] = {
    "sd1": {"text_encoder": "cond_stage_model.transformer.text_model."},
    "sd2": {"text_encoder": "cond_stage_model.model."},
    "sdxl": {
        "text_encoder": "conditioner.embedders.0.transformer.text_model.",
        "text_encoder_2": "conditioner.embedders.1.model.",
    },
}
CONTEXT_WIDTHS = {768: "sd1", 1024: "sd2", 2048: "sdxl"}  # of the text that a UNet's cross-attention reads
OLD_TEXT = "cond_stage_model.transformer."  # files from before transformers had `text_model`
REFINER_TEXT = "conditioner.embedders.0.model."
VARIANTS = {4: "", 5: "depth", 7: "upscaler", 8: "instruct-pix2pix", 9: "inpainting"}  # by the channels the UNet reads
NESTED = "state_dict."  # where pickles keep the tensors
Prediction = Literal["epsilon", "v_prediction"]


@dataclass(frozen=True)
class Contents:
    """A checkpoint's parts.

    `kind` is "checkpoint" where there are a UNet and all text encoders, "unet" where texts are missing, "vae" where
    there is nothing but an autoencoder. `parts` says what the names of each part ("unet", "vae", "text_encoder",
    "text_encoder_2") begin with. `variant` is empty for a base that draws from a prompt alone.
    """

    kind: Literal["checkpoint", "unet", "vae"]
    family: str | None
    parts: Mapping[str, str]
    variant: str = ""
    root: str = ""  # what every name begins with
    ema: bool = False  # whether there is an averaged copy of the UNet
    diffusers: bool = False  # whether the names are diffusers' own: a UNet or an autoencoder alone
    prediction: Prediction | None = None
    told_by: str = ""  # what says so
    zero_snr: bool = False  # trained to the very end of noise, arXiv:2305.08891


def contents_of(file: TensorFile) -> Contents | None:
    """What the file holds, None where it is neither a checkpoint, nor a UNet or autoencoder alone."""
    root = NESTED if any(name.startswith(NESTED) for name in file.layouts) else ""
    unet = _first(file, root, (UNET, "diffusion_model.", ""), "input_blocks.0.0.weight")
    vae = _first(file, root, (VAE, ""), "encoder.down.0.block.0.conv1.weight")
    if unet is None:
        return _alone(file, root, vae)
    family, texts, refiner = _texts(file, root)
    family = family or _family_of_unet(file, root + unet)
    parts = {"unet": root + unet, **texts, **({} if vae is None else {"vae": root + vae})}
    whole = not refiner and set(TEXTS[family]) <= set(parts)
    prediction, told_by = _prediction(file, root, family)
    return Contents(
        kind="checkpoint" if whole or refiner else "unet",
        family=family,
        parts=parts,
        variant=_variant(file, root, root + unet, family, refiner),
        root=root,
        ema=any(name.startswith(root + EMA + "diffusion_model") for name in file.layouts),
        prediction=prediction,
        told_by=told_by,
        zero_snr=root + "ztsnr" in file.layouts,
    )


def _first(file: TensorFile, root: str, prefixes: tuple[str, ...], name: str) -> str | None:
    return next((prefix for prefix in prefixes if root + prefix + name in file.layouts), None)


def _alone(file: TensorFile, root: str, vae: str | None) -> Contents | None:
    """An autoencoder without a UNet, or either of them under diffusers' names."""
    if vae is not None:
        return Contents("vae", None, {"vae": root + vae}, root=root)
    if "encoder.down_blocks.0.resnets.0.conv1.weight" in file.layouts:
        return Contents("vae", None, {"vae": ""}, diffusers=True)
    if {"conv_in.weight", "time_embedding.linear_1.weight", "down_blocks.0.resnets.0.conv1.weight"} <= set(
        file.layouts
    ):
        linear = any(n.endswith(".proj_in.weight") and len(s.shape) == 2 for n, s in file.layouts.items())
        family = "sdxl" if "add_embedding.linear_1.weight" in file.layouts else "sd2" if linear else "sd1"
        variant = _by_channels(file, "conv_in.weight")
        return Contents("unet", family, {"unet": ""}, variant, diffusers=True)
    return None


def _texts(file: TensorFile, root: str) -> tuple[str | None, dict[str, str], bool]:
    """The family by its text encoders, what their names begin with, and whether they are the refiner's."""
    for family, sides in TEXTS.items():
        found = {part: root + prefix for part, prefix in sides.items() if _holds_text(file, root + prefix)}
        if found and (family != "sdxl" or "text_encoder_2" in found):
            return family, found, False
    if _holds_text(file, root + REFINER_TEXT):
        return "sdxl", {}, True
    if _holds_text(file, root + OLD_TEXT):
        return "sd1", {"text_encoder": root + OLD_TEXT}, False
    return None, {}, False


def _holds_text(file: TensorFile, prefix: str) -> bool:
    return any(f"{prefix}{place}token_embedding.weight" in file.layouts for place in ("", "embeddings."))


def _family_of_unet(file: TensorFile, unet: str) -> str:
    """By structure, not sizes: only SDXL reads a pooled text, and only Stable Diffusion 1 projects by convolution."""
    if f"{unet}label_emb.0.0.weight" in file.layouts:
        return "sdxl"
    projections = (layout for name, layout in file.layouts.items() if name.endswith("1.proj_in.weight"))
    projection = next(projections, None)
    return "sd2" if projection is not None and len(projection.shape) == 2 else "sd1"


def _variant(file: TensorFile, root: str, unet: str, family: str, refiner: bool) -> str:
    if refiner or (family == "sdxl" and _context_width(file, unet) == 1280):
        return "refiner"
    if root + "edm_vpred.sigma_max" in file.layouts or root + "edm_mean" in file.layouts:
        return "EDM"  # noise by its own schedule, arXiv:2206.00364
    if family == "sd2" and f"{unet}label_emb.0.0.weight" in file.layouts:
        return "unCLIP"
    return _by_channels(file, f"{unet}input_blocks.0.0.weight")


def _by_channels(file: TensorFile, name: str) -> str:
    shape = file.layouts[name].shape
    channels = shape[1] if len(shape) == 4 else 0
    return VARIANTS.get(channels, f"{channels}-channel")


def _context_width(file: TensorFile, unet: str) -> int:
    for name, layout in file.layouts.items():
        if name.startswith(unet) and name.endswith(".attn2.to_k.weight") and len(layout.shape) == 2:
            return layout.shape[1]
    return 0


def _prediction(file: TensorFile, root: str, family: str) -> tuple[Prediction | None, str]:
    """What the UNet predicts, if the file, or a configuration beside it, says so; and what says it."""
    spec = file.metadata.get("modelspec.prediction_type", "").lower()
    if spec:
        return ("v_prediction" if spec.startswith("v") else "epsilon"), "its modelspec.prediction_type"
    architecture = file.metadata.get("modelspec.architecture", "")
    if architecture.startswith("stable-diffusion-v2"):
        return ("v_prediction" if architecture.endswith("-v") else "epsilon"), "its modelspec.architecture"
    beside = file.path.with_suffix(".yaml")
    if beside.is_file():
        said = re.search(
            r"^\s*parameterization:\s*[\"']?(v|eps)\b", beside.read_text("utf-8", errors="replace"), re.MULTILINE
        )
        return ("v_prediction" if said and said[1] == "v" else "epsilon"), f"{beside.name} beside it"
    if root + "v_pred" in file.layouts:
        return "v_prediction", "its tensor v_pred"
    if file.metadata.get("ss_base_model_version") == "sd_v2_v":
        return "v_prediction", "its ss_base_model_version"
    return (None, "") if family == "sd2" else ("epsilon", "its family")
