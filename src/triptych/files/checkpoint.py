"""What a checkpoint file contains, by its header alone: components, family, variant, and prediction type.

The layout is the original one of Stable Diffusion ("LDM", and "sgm" for SDXL). Nothing here needs torch.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from ..families import VAE as VAE_PART
from ..families import Family, by_structure, families, family_named
from .tensorfile import TensorFile

DENOISER, VAE, EMA = "model.diffusion_model.", "first_stage_model.", "model_ema."
OLD_TEXT = "cond_stage_model.transformer."  # in files older than the `text_model` of transformers
REFINER_TEXT, REFINER_WIDTH = "conditioner.embedders.0.model.", 1280
MASKED = "inpainting"  # the variant that reads a mask, too
VARIANTS = {
    4: "",
    5: "depth",
    7: "upscaler",
    8: "instruct-pix2pix",
    9: MASKED,
}  # by the denoiser's input channels
NESTED = "state_dict."  # where pickles keep the tensors
Prediction = Literal["epsilon", "v_prediction"]


@dataclass(frozen=True)
class Contents:
    """The components of a checkpoint.

    Attributes:
        kind: "checkpoint" for a denoiser with all text encoders, "denoiser" where text encoders are missing, "vae" for
            an autoencoder alone.
        parts: component -> prefix of its names.
        variant: empty for a base that samples from a prompt alone.
    """

    kind: Literal["checkpoint", "denoiser", "vae"]
    family: str | None
    parts: Mapping[str, str]
    variant: str = ""
    root: str = ""  # the prefix of all names
    ema: bool = False  # whether the file has an averaged copy of the denoiser
    diffusers: bool = False  # diffusers' names: a denoiser or an autoencoder alone
    prediction: Prediction | None = None
    told_by: str = ""  # where `prediction` comes from
    zero_snr: bool = False  # zero terminal SNR, arXiv:2305.08891


def contents_of(file: TensorFile) -> Contents | None:
    """The components in the file; None if it is no checkpoint, denoiser or autoencoder."""
    root = NESTED if any(name.startswith(NESTED) for name in file.layouts) else ""
    denoiser = _first(file, root, (DENOISER, "diffusion_model.", ""), "input_blocks.0.0.weight")
    vae = _first(file, root, (VAE, ""), "encoder.down.0.block.0.conv1.weight")
    if denoiser is None:
        return _alone(file, root, vae)
    family, texts, refiner = _texts(file, root)
    family = family or _family_of_denoiser(file, root + denoiser)
    parts = {family.denoiser: root + denoiser, **texts, **({} if vae is None else {VAE_PART: root + vae})}
    whole = not refiner and {text.component for text in family.texts} <= set(parts)
    prediction, told_by = _prediction(file, root, family)
    return Contents(
        kind="checkpoint" if whole or refiner else "denoiser",
        family=family.name,
        parts=parts,
        variant=_variant(file, root, root + denoiser, family, refiner),
        root=root,
        ema=any(name.startswith(root + EMA + "diffusion_model") for name in file.layouts),
        prediction=prediction,
        told_by=told_by,
        zero_snr=root + "ztsnr" in file.layouts,
    )


def _first(file: TensorFile, root: str, prefixes: tuple[str, ...], name: str) -> str | None:
    return next((prefix for prefix in prefixes if root + prefix + name in file.layouts), None)


def _alone(file: TensorFile, root: str, vae: str | None) -> Contents | None:
    """The contents of a file with one network: an autoencoder, or a denoiser or autoencoder with diffusers' names."""
    if vae is not None:
        return Contents("vae", None, {"vae": root + vae}, root=root)
    if "encoder.down_blocks.0.resnets.0.conv1.weight" in file.layouts:
        return Contents("vae", None, {"vae": ""}, diffusers=True)
    if {"conv_in.weight", "time_embedding.linear_1.weight", "down_blocks.0.resnets.0.conv1.weight"} <= set(
        file.layouts
    ):
        linear = any(n.endswith(".proj_in.weight") and len(s.shape) == 2 for n, s in file.layouts.items())
        family = by_structure(pooled="add_embedding.linear_1.weight" in file.layouts, linear=linear)
        variant = _by_channels(file, "conv_in.weight")
        return Contents("denoiser", family.name, {family.denoiser: ""}, variant, diffusers=True)
    return None


def _texts(file: TensorFile, root: str) -> tuple[Family | None, dict[str, str], bool]:
    """The family by its text encoders, the prefixes of their names, and whether they are the refiner's."""
    for family in (known for known in families().values() if known.prefix):
        found = {text.component: root + text.prefix for text in family.texts if _holds_text(file, root + text.prefix)}
        if family.texts[-1].component in found:
            return family, found, False
    if _holds_text(file, root + REFINER_TEXT):
        return family_named("sdxl"), {}, True
    if _holds_text(file, root + OLD_TEXT):
        return family_named("sd1"), {"text_encoder": root + OLD_TEXT}, False
    return None, {}, False


def _holds_text(file: TensorFile, prefix: str) -> bool:
    return any(f"{prefix}{place}token_embedding.weight" in file.layouts for place in ("", "embeddings."))


def _family_of_denoiser(file: TensorFile, prefix: str) -> Family:
    projections = (layout for name, layout in file.layouts.items() if name.endswith("1.proj_in.weight"))
    projection = next(projections, None)
    linear = projection is not None and len(projection.shape) == 2
    return by_structure(pooled=f"{prefix}label_emb.0.0.weight" in file.layouts, linear=linear)


def _variant(file: TensorFile, root: str, denoiser: str, family: Family, refiner: bool) -> str:
    if refiner or (family.pooled and _context_width(file, denoiser) == REFINER_WIDTH):
        return "refiner"
    if root + "edm_vpred.sigma_max" in file.layouts or root + "edm_mean" in file.layouts:
        return "EDM"  # it has its own noise schedule, arXiv:2206.00364
    if not family.pooled and f"{denoiser}label_emb.0.0.weight" in file.layouts:
        return "unCLIP"
    return _by_channels(file, f"{denoiser}input_blocks.0.0.weight")


def _by_channels(file: TensorFile, name: str) -> str:
    shape = file.layouts[name].shape
    channels = shape[1] if len(shape) == 4 else 0
    return VARIANTS.get(channels, f"{channels}-channel")


def _context_width(file: TensorFile, denoiser: str) -> int:
    for name, layout in file.layouts.items():
        if name.startswith(denoiser) and name.endswith(".attn2.to_k.weight") and len(layout.shape) == 2:
            return layout.shape[1]
    return 0


def _prediction(file: TensorFile, root: str, family: Family) -> tuple[Prediction | None, str]:
    """The prediction type that the file or a configuration beside it states (or None), and which of them states it."""
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
    return ("epsilon", "its family") if family.prediction else (None, "")
