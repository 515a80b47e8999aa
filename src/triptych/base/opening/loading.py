"""Opens a `Base` by name: the embedded demo, a diffusers folder, a checkpoint file, or a hub id."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from ...errors import Remedy, TriptychError, did_you_mean, first_line
from ...families import Family, families
from ...files.tensorfile import TensorFile
from ...options import BaseOptions
from ..denoiser import INPAINTING, PLAIN, UNet
from ..description import Description
from ..device import device_named, dtype_named
from ..model import Base
from ..process import Ddpm
from ..text import Text
from .difference import add
from .identity import recall, record_of, remember
from .names import family_of_config
from .parts import Parts
from .prediction import prediction_named
from .single import base_in, open_single, open_vae, picture_dtype

if TYPE_CHECKING:
    from diffusers import AutoencoderKL, UNet2DConditionModel

LIBRARIES = (  # the modules of other packages that opening a base imports
    "diffusers.models.autoencoders.autoencoder_kl", "diffusers.models.unets.unet_2d_condition",
    "diffusers.schedulers.scheduling_ddpm", "transformers.models.clip.modeling_clip",
    "transformers.models.clip.tokenization_clip",
)  # fmt: skip
HERE = Path(__file__).parents[1]  # the folder of `base`
EMBEDDED = dict.fromkeys(("demo", "demo-b"), HERE / "demo")
DIFFERENCES = {"demo-b": HERE / "demo-b.safetensors"}  # bases stored as a difference from the demo
FEW_TOKENS = 1024  # up to here, plain attention has a faster backward pass on a CPU than the fused kernel


@dataclass(frozen=True)
class Place(BaseOptions):
    """The source and the options of a base, which can be opened."""

    @classmethod
    def of(cls, options: BaseOptions) -> Place:
        return cls(**vars(options))

    def open(self) -> Base:
        """The base, frozen, on its device.

        Raises:
            TriptychError: there is no such base, device or precision, or the base's family is unknown.
        """
        return _open(self)


def open_base(source: str, **how: Any) -> Base:
    """The base that `source` names: "demo", a diffusers folder, a checkpoint file, or a hub id.

    `how` are the other fields of `Place`: device, precision, resolution, ...

    Raises:
        TriptychError: as `Place.open`.
    """
    return Place(source, **how).open()


def path_of(source: str) -> Path:
    """The diffusers folder or checkpoint file that `source` names; a hub id is downloaded into the hub's cache."""
    if source in EMBEDDED:
        return EMBEDDED[source]
    path = Path(source)
    if path.is_dir():
        if not (path / "model_index.json").is_file():
            raise TriptychError(f"{source} is not a base: a diffusers folder has a model_index.json, and it has none")
        return path
    if path.is_file():
        return path
    if source.count("/") != 1 or source.startswith(("/", ".", "~")):
        raise TriptychError(f"there is no base {source!r}: give 'demo', a diffusers folder or a hub id{_near(source)}")
    return _download(source)


def family_of(source: str) -> str:
    """The name of the family of the base `source`, by its configuration or header alone.

    Raises:
        TriptychError: there is no such base, or its family is unknown.
    """
    path = path_of(source)
    if path.is_file():
        return str(base_in(TensorFile.open(path), without_vae=True).family)
    return Description.of(path, _family(path).name).family


def _near(source: str) -> str:
    siblings = [p.name for p in Path(source).parent.glob("*") if p.is_dir()] if Path(source).parent.is_dir() else []
    return did_you_mean(Path(source).name, {*EMBEDDED, *siblings})


def _download(source: str) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    parts = dict.fromkeys(part for family in families().values() if family.prefix for part in family.folders)
    wanted = [f"{part}/*{suffix}" for part in parts for suffix in (".json", ".txt", ".safetensors")]
    try:
        return Path(snapshot_download(source, allow_patterns=["model_index.json", *wanted]))
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError, ValueError) as error:
        raise TriptychError(f"there is no folder {source}, and the hub did not give it: {first_line(error)}") from error


@contextmanager
def _reading(folder: Path) -> Iterator[None]:
    """Turn the exceptions of other libraries over a bad folder into a `TriptychError`."""
    try:
        yield
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, json.JSONDecodeError) as error:
        raise TriptychError(f"{folder} cannot be opened as a Stable Diffusion base: {first_line(error)}") from error


def _open(place: Place) -> Base:
    device = device_named(place.device)
    dtype = dtype_named(place.precision, device)
    path = path_of(place.source)
    if path.is_file():
        vae = Path(place.vae) if place.vae else None
        parts = open_single(path, dtype, device, vae=vae, ema=place.ema, prediction=place.prediction or None)
    else:
        parts = _read_folder(path, _family(path), device, dtype, place)
    folder = path if path.is_dir() else None
    description = Description.of(folder, parts.family.name)
    _make_fast(parts.unet, parts.vae, device)
    resolution = _resolution(place, description, parts)
    record = record_of(_sources(place, path), dtype, place.ema)
    base = Base(
        place.source, _texts(parts), parts.vae, UNet(parts.unet), Ddpm(parts.schedule), description, resolution,
        folder, place.clip, identity=recall(record),
    )  # fmt: skip
    remember(record, base.identity)
    return base


def _sources(place: Place, path: Path) -> Iterator[Path]:
    """The files and folders that the weights come from."""
    yield path
    if place.vae:
        yield Path(place.vae)
    if place.source in DIFFERENCES:
        yield DIFFERENCES[place.source]


def _read_folder(folder: Path, family: Family, device: torch.device, dtype: torch.dtype, place: Place) -> Parts:
    from diffusers import AutoencoderKL, DDPMScheduler, UNet2DConditionModel
    from transformers import CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

    if place.ema:
        raise TriptychError(f"{folder} is a folder: only checkpoint files hold averaged weights beside the others")
    with _reading(folder):
        tokenizers = [CLIPTokenizer.from_pretrained(folder / text.tokenizer) for text in family.texts]
        encoders = []
        for text in family.texts:
            kind = CLIPTextModelWithProjection if text.projected else CLIPTextModel
            encoders.append(kind.from_pretrained(folder / text.component, dtype=dtype).to(device))
        unet = UNet2DConditionModel.from_pretrained(folder / family.denoiser, torch_dtype=dtype).to(device)
        if place.source in DIFFERENCES:
            change = TensorFile.open(DIFFERENCES[place.source]).tensors()
            unet.load_state_dict(add(unet.state_dict(), {name: part.to(device) for name, part in change.items()}))
        schedule = DDPMScheduler.from_pretrained(folder / "scheduler")
        if place.vae:
            vae = open_vae(Path(place.vae), folder, picture_dtype(dtype), device)
        else:
            vae = AutoencoderKL.from_pretrained(folder / "vae", torch_dtype=picture_dtype(dtype)).to(device)
    if place.prediction:
        schedule.register_to_config(prediction_type=prediction_named(place.prediction))
    predicts = schedule.config.prediction_type
    return Parts(family, tuple(tokenizers), tuple(encoders), vae, unet, schedule, predicts, "its scheduler")


def _texts(parts: Parts) -> tuple[Text, ...]:
    return tuple(
        Text(side.component, tokenizer, encoder, side.embedding, penultimate=side.penultimate)
        for side, tokenizer, encoder in zip(parts.family.texts, parts.tokenizers, parts.text_encoders, strict=True)
    )


def _make_fast(unet: UNet2DConditionModel, vae: AutoencoderKL, device: torch.device) -> None:
    """Choose the faster kernels and memory layout, by the measurements of `python -m benchmarks.kernels`."""
    from diffusers.models.attention_processor import AttnProcessor

    vae.to(memory_format=torch.channels_last)
    if device.type == "cpu" and unet.config.sample_size**2 <= FEW_TOKENS:
        unet.set_attn_processor(AttnProcessor())


def _family(folder: Path) -> Family:
    """The family of a folder, by its configuration.

    Raises:
        TriptychError: the folder is incomplete, or its base does not sample from a prompt alone.
    """
    with _reading(folder):
        index = json.loads((folder / "model_index.json").read_text())
        unet = json.loads((folder / "unet" / "config.json").read_text()) if (folder / "unet").is_dir() else {}
    made = next((known for known in families().values() if known.pipeline == index.get("_class_name")), None)
    if made is not None and not made.prefix:
        raise TriptychError(f"{folder} is a {made.title} base, which cannot be opened from files yet")
    if "text_encoder_2" in index and index.get("text_encoder", [None])[0] is None:
        raise TriptychError(f"{folder} is the SDXL refiner, which only finishes pictures: give the SDXL base")
    family = family_of_config(unet)
    missing = [part for part in family.folders if not (folder / part).is_dir()]
    if missing:
        raise TriptychError(f"{folder} is not a whole base: it lacks the folder {missing[0]}")
    if unet.get("in_channels") not in (PLAIN, INPAINTING):
        raise TriptychError(
            f"{folder} samples neither from a prompt nor by a mask (its UNet reads {unet.get('in_channels')} channels)"
        )
    return family


def _resolution(place: Place, description: Description, parts: Parts) -> int:
    """The resolution that the user gave, or the base's default, or the one that its UNet was trained on."""
    pixels = 2 ** (len(parts.vae.config.block_out_channels) - 1)
    own = description.resolution or parts.unet.config.sample_size * pixels
    resolution, step = place.resolution or own, pixels * UNet(parts.unet).multiple
    if resolution < step or resolution % step:
        raise TriptychError(f"this base samples multiples of {step} pixels, not {resolution}", Remedy.RESOLUTION)
    return resolution
