"""Opens bases in one file of the original layout, offline: configurations and vocabulary are part of the package.

Modules are built without storage and get the file's memory-mapped tensors. If the file has the precision that is asked
for, nothing is copied; otherwise one tensor is converted at a time.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from ...errors import Remedy, TriptychError
from ...families import family_named
from ...files.checkpoint import MASKED, Contents, Prediction, contents_of
from ...files.tensorfile import TensorFile
from ..denoiser import INPAINTING
from .names import Origin, ema_key, origins
from .parts import Parts
from .prediction import prediction_named, probed
from .tokenizer import clip_tokenizer

if TYPE_CHECKING:
    from diffusers import AutoencoderKL, DDPMScheduler

NOT_READ = ("position_ids", "logit_scale", "text_projection", "attn_mask")  # tensors of text encoders that are not used
OLD_ATTENTION = {"query": "to_q", "key": "to_k", "value": "to_v", "proj_attn": "to_out.0"}  # of old autoencoders
VELOCITY_SIDE = 96  # latents of Stable Diffusion 2 at 768 px, which predicts velocity


def open_single(
    path: Path,
    dtype: torch.dtype,
    device: torch.device,
    *,
    vae: Path | None = None,
    ema: bool = False,
    prediction: str | None = None,
    configurations: Path | None = None,
) -> Parts:
    """The base in a checkpoint file.

    Args:
        dtype: of UNet and text encoders. With float16 the autoencoder is float32, since it would overflow.
        vae: a file with another autoencoder, in the original layout or diffusers'.
        ema: use the averaged copy of the UNet's weights, which some files have.
        prediction: "epsilon" or "v", if the file does not state it or states it wrongly.
        configurations: a folder with the configuration of each part, as in a diffusers folder; by default the family's.

    Raises:
        TriptychError: the file is not a base that samples from a prompt or by a mask, or a tensor is missing,
            superfluous, not finite, or of another shape than the configuration states.
    """
    file = TensorFile.open(path)
    contents = base_in(file, without_vae=vae is not None)
    said = prediction_named(prediction) if prediction else None
    family = family_named(str(contents.family))
    folder = configurations or family.configurations
    source = _Source(file, contents, dtype, device, ema)
    channels = {"in_channels": INPAINTING} if contents.variant == MASKED else {}
    unet = source.read(family.denoiser, folder, channels)
    texts = [source.read(text.component, folder) for text in family.texts]
    autoencoder = _vae(source, vae, folder)
    known, told_by = (said, "the user") if said else (contents.prediction, contents.told_by)
    if known is None:
        known, cosine = probed(unet)
        told_by = f"what it makes of pure noise (cosine {cosine:.2f})"
    if family.by_velocity and known == "v_prediction" and configurations is None:
        unet.register_to_config(sample_size=VELOCITY_SIDE)
    pads = ["!" if side.openclip else "<|endoftext|>" for side in family.texts]
    return Parts(
        family, tuple(map(clip_tokenizer, pads)), tuple(texts), autoencoder, unet,
        schedule(folder, known, contents.zero_snr), known, told_by, tuple(sorted(file.layouts.keys() - source.used)),
    )  # fmt: skip


def base_in(file: TensorFile, *, without_vae: bool = False) -> Contents:
    """The contents of a file with a base that samples from a prompt, or from one and a mask.

    Raises:
        TriptychError: the file is something else.
    """
    contents = contents_of(file)
    if contents is None:
        raise TriptychError(f"{file.path} is not a Stable Diffusion checkpoint in the original layout")
    if contents.variant == "refiner":
        raise TriptychError(f"{file.path} is the SDXL refiner, which only finishes pictures: give the SDXL base")
    if contents.variant not in ("", MASKED):
        raise TriptychError(
            f"{file.path} is a checkpoint of the {contents.variant} kind, which needs more than a prompt to draw or "
            "another way of drawing: give a plain base"
        )
    if contents.kind != "checkpoint":
        what = {"denoiser": "a UNet without its text encoder", "vae": "an autoencoder alone"}
        remedies = [Remedy.AS_VAE] if contents.kind == "vae" else []
        raise TriptychError(f"{file.path} holds {what[contents.kind]}, and no whole checkpoint", *remedies)
    if "vae" not in contents.parts and not without_vae:
        raise TriptychError(f"{file.path} comes without an autoencoder", Remedy.NAME_VAE)
    return contents


def configuration(folder: Path, part: str) -> dict[str, Any]:
    """Read the configuration of a part from `folder/part/config.json`."""
    found: dict[str, Any] = json.loads((folder / part / "config.json").read_text(encoding="utf-8"))
    return found


def schedule(folder: Path, prediction: Prediction, zero_snr: bool) -> DDPMScheduler:
    """The noise schedule of a family, with the prediction type of one model."""
    from diffusers import DDPMScheduler

    config = json.loads((folder / "scheduler" / "scheduler_config.json").read_text(encoding="utf-8"))
    config |= {"prediction_type": prediction}
    if zero_snr:
        config |= {"rescale_betas_zero_snr": True, "timestep_spacing": "trailing"}
    config.pop("_class_name", None)
    return DDPMScheduler.from_config(config)


def shell(part: str, config: Mapping[str, Any]) -> nn.Module:
    """The module of a part, without storage for its weights."""
    from diffusers import AutoencoderKL, UNet2DConditionModel
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

    with torch.device("meta"):
        if part == "unet":
            module = UNet2DConditionModel.from_config(config)
        elif part == "vae":
            module = AutoencoderKL.from_config(config)
        else:
            kind = CLIPTextModelWithProjection if part == "text_encoder_2" else CLIPTextModel
            module = kind(CLIPTextConfig.from_dict(dict(config)))
    found: nn.Module = module
    return found


class _Source:
    """A checkpoint file that is being read part by part."""

    def __init__(
        self, file: TensorFile, contents: Contents, dtype: torch.dtype, device: torch.device, ema: bool
    ) -> None:
        if ema and not contents.ema:
            raise TriptychError(f"{file.path} has no averaged copy of its weights (its names begin with model_ema.)")
        self.file, self.contents, self.dtype, self.device, self.ema = file, contents, dtype, device, ema
        self.family = None if contents.family is None else family_named(contents.family)
        self.used: set[str] = set()

    def read(self, part: str, folder: Path, changes: Mapping[str, int] | None = None) -> Any:
        """Read a part with its weights. `changes` are entries of its configuration that differ from the folder's.

        Raises:
            TriptychError: a tensor is missing, superfluous, of another shape, or not finite.
        """
        config = configuration(folder, part) | dict(changes or {})
        module = shell(part, config)
        state = module.state_dict()
        wanted = self._origins(part, config, state)
        self._check(part, config, state, wanted)
        self.used |= {origin.key for origin in wanted.values()}
        module.load_state_dict(dict(self._tensors(state, wanted)), assign=True)
        for inner in module.modules():  # the only buffer outside the state dict
            positions = getattr(inner, "position_ids", None)
            if isinstance(positions, Tensor):
                inner.position_ids = torch.arange(positions.shape[-1], device=self.device)[None]
        return module.eval().requires_grad_(False)

    def _origins(self, part: str, config: Mapping[str, Any], state: Mapping[str, Tensor]) -> dict[str, Origin]:
        if self.contents.diffusers:
            return {name: Origin(self._diffusers_name(name)) for name in state}
        if self._is_averaged(part):
            usual = origins(self.family, part, config, state)
            return {name: Origin(self.contents.root + ema_key(origin.key)) for name, origin in usual.items()}
        return origins(self.family, part, config, state, self.contents.parts[part])

    def _is_averaged(self, part: str) -> bool:
        return self.ema and self.family is not None and part == self.family.denoiser

    def _diffusers_name(self, name: str) -> str:
        """The name as old versions of diffusers wrote it: autoencoders had other names in their attention."""
        old = next((name.replace(new, old) for old, new in OLD_ATTENTION.items() if f".{new}." in name), name)
        return old if name not in self.file.layouts and old in self.file.layouts else name

    def _check(
        self, part: str, config: Mapping[str, Any], state: Mapping[str, Tensor], wanted: Mapping[str, Origin]
    ) -> None:
        layouts, keys = self.file.layouts, {origin.key for origin in wanted.values()}
        for name, origin in wanted.items():
            if origin.key not in layouts:
                raise TriptychError(f"{self.file.path} is not whole: it lacks {origin.key}")
            given, needed = layouts[origin.key].shape, _shape_in_file(tuple(state[name].shape), origin)
            if _trimmed(given) != _trimmed(needed):
                raise TriptychError(f"{self.file.path} does not fit: {origin.key} is {given}, where {needed} is due")
        if self._is_averaged(part):
            return
        prefix = self.contents.parts[part]
        for key in layouts:
            if key.startswith(prefix) and key not in keys and not _needless(part, key.removeprefix(prefix), config):
                raise TriptychError(f"{self.file.path} does not fit: nothing of its kind has a tensor {key}")

    def _tensors(self, state: Mapping[str, Tensor], wanted: Mapping[str, Origin]) -> Iterator[tuple[str, Tensor]]:
        found = self.file.tensors({origin.key: None for origin in wanted.values()})
        for name, origin in wanted.items():
            tensor, shape = found[origin.key], state[name].shape
            if origin.third is not None:
                tensor = tensor.chunk(3)[origin.third]
            if origin.transposed:
                tensor = tensor.T.contiguous()
            yield name, tensor.reshape(shape).to(self.device, self.dtype)


def _needless(part: str, name: str, config: Mapping[str, Any]) -> bool:
    """Whether a tensor of a part is known to be unused."""
    if part == "unet":
        return False
    if part == "vae":
        return name.startswith(("loss.", "model_ema."))
    last = f"transformer.resblocks.{config['num_hidden_layers']}."  # Stable Diffusion 2 reads the layer before the last
    return name.startswith(last) or any(word in name for word in NOT_READ)


def _shape_in_file(shape: tuple[int, ...], origin: Origin) -> tuple[int, ...]:
    if origin.third is not None:
        return (3 * shape[0], *shape[1:])
    return shape[::-1] if origin.transposed else shape


def _trimmed(shape: tuple[int, ...]) -> tuple[int, ...]:
    """The shape without a 1 x 1 kernel: a 1 x 1 convolution and a linear layer have the same numbers."""
    return shape[:2] if len(shape) == 4 and shape[2:] == (1, 1) else shape


def _vae(source: _Source, path: Path | None, folder: Path) -> AutoencoderKL:
    dtype = picture_dtype(source.dtype)
    if path is not None:
        return open_vae(path, folder, dtype, source.device)
    inner = _Source(source.file, source.contents, dtype, source.device, ema=False)
    vae: AutoencoderKL = inner.read("vae", folder)
    source.used |= inner.used
    return vae


def open_vae(path: Path, folder: Path, dtype: torch.dtype, device: torch.device) -> AutoencoderKL:
    """Open the autoencoder in a file, in the original layout or diffusers', with the configuration in `folder/vae`.

    Raises:
        TriptychError: the file has no autoencoder, or one of another size.
    """
    file = TensorFile.open(path)
    contents = contents_of(file)
    if contents is None or "vae" not in contents.parts:
        raise TriptychError(f"{path} holds no autoencoder of Stable Diffusion")
    vae: AutoencoderKL = _Source(file, contents, dtype, device, ema=False).read("vae", folder)
    return vae


def picture_dtype(dtype: torch.dtype) -> torch.dtype:
    """The autoencoder's data type for a UNet of this data type: float16 becomes float32, since it would overflow."""
    return torch.float32 if dtype is torch.float16 else dtype
