"""Encoders: they turn pictures (and texts) into features of length 1. None is part of the base that is judged.

An encoder is a file in this folder, or a class that an entry point of another package names (see `plugins`).
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal, Protocol, overload, runtime_checkable

from ...errors import TriptychError, did_you_mean, first_line
from ...plugins import Plugins
from .weights import weights_at

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Sequence

    import torch
    from PIL import Image
    from torch import Tensor

EFFICIENTNET = "efficientnet-lite0"


class ImageEncoder(Protocol):
    """Encodes pictures. `name` is for the report. Encoders with different features have different digests."""

    name: str

    @property
    def digest(self) -> str: ...

    def images(self, pictures: Sequence[Image.Image]) -> Tensor:
        """Encode one or more RGB pictures: float32 [pictures, d] on the CPU, rows of length 1."""


@runtime_checkable
class TextImageEncoder(ImageEncoder, Protocol):
    """Encodes pictures and texts into the same space."""

    def texts(self, texts: Sequence[str]) -> Tensor:
        """Encode one or more texts: float32 [texts, d] on the CPU, rows of length 1."""


@runtime_checkable
class PatchEncoder(ImageEncoder, Protocol):
    """Encodes pictures, and their patches one by one."""

    def patches(self, pictures: Sequence[Image.Image]) -> Tensor:
        """Encode the patches of RGB pictures: float32 [pictures, patches, d] on the CPU, rows of length 1."""

    def shares(self, masks: Sequence[Image.Image]) -> Tensor:
        """How much of each patch a mask in grey keeps: float32 [masks, patches] on the CPU, 0 to 1."""


@runtime_checkable
class PromptScorer(Protocol):
    """Tells how well texts fit pictures. `name` and `digest` are as of an encoder."""

    name: str

    @property
    def digest(self) -> str: ...

    def scores(self, pictures: Sequence[Image.Image], texts: Sequence[str]) -> Tensor:
        """Of each RGB picture with the text of the same place: float32 [pictures] on the CPU, 0 or more."""


class Encoder(ABC):
    """A plug-in that opens an encoder.

    Class attributes:
        known_as: its name. An encoder without `families` is opened by this name.
        families: the model types (`model_type` in a configuration of transformers) that it opens from a folder or a
            hub id.
        tensors: the ends of names in a file of weights by which it is recognised, where no configuration tells its
            type. Such an encoder also opens from the file itself.
    """

    known_as: ClassVar[str]
    families: ClassVar[tuple[str, ...]] = ()
    tensors: ClassVar[tuple[str, ...]] = ()

    @classmethod
    @abstractmethod
    def open(cls, path: str, device: str | torch.device) -> ImageEncoder | PromptScorer:
        """Open the encoder, or a scorer of prompts; from a folder, hub id or file if it has `families` or `tensors`."""


PLUGINS = Plugins[Encoder](Encoder, __name__, "triptych.encoders", name="known_as")


@overload
def open_encoder(name: str, kind: Literal["image"], device: str | torch.device = "cpu") -> ImageEncoder: ...
@overload
def open_encoder(name: str, kind: Literal["text"], device: str | torch.device = "cpu") -> TextImageEncoder: ...
@overload
def open_encoder(
    name: str, kind: Literal["prompt"], device: str | torch.device = "cpu"
) -> TextImageEncoder | PromptScorer: ...
def open_encoder(
    name: str, kind: Literal["image", "text", "prompt"], device: str | torch.device = "cpu"
) -> ImageEncoder | PromptScorer:
    """Open an encoder by name, from a folder, a file, or a model hub: a DINOv2, a CLIP, a SigLIP, or a plug-in's.

    Args:
        name: a name, the path of a folder or of a file of weights, or a hub id such as "facebook/dinov2-base".
        kind: "image" requires an encoder of pictures, "text" one that also reads texts, such as a CLIP, and "prompt"
            either such an encoder, or a scorer of prompts.

    Raises:
        TriptychError: there is no such encoder, it cannot be loaded, or it reads no texts although it should.
    """
    named = {encoder.known_as: encoder for encoder in PLUGINS.classes().values() if not encoder.families}
    encoder = named[name].open(name, device) if name in named else _open_model(name, device, named)
    if isinstance(encoder, PromptScorer):
        if kind != "prompt":
            raise TriptychError(f"{name} answers questions about pictures, and encodes none; give a DINOv2 or a CLIP")
    elif kind != "image" and not isinstance(encoder, TextImageEncoder):
        raise TriptychError(
            f"{name} sees pictures but reads no texts; give a CLIP, such as openai/clip-vit-base-patch32"
        )
    return encoder


def open_each(
    names: Sequence[str], device: str | torch.device, missing: Callable[[str, TriptychError], None]
) -> Iterator[ImageEncoder]:
    """Open image encoders, each when it is asked for. What cannot be opened is told to `missing`, and left out.

    Raises:
        TriptychError: none of them can be opened; why the first cannot.
    """
    failed, some = None, False
    for name in names:
        try:
            encoder = open_encoder(name, "image", device)
        except TriptychError as error:
            missing(name, error)
            failed = failed or error
        else:
            some = True
            yield encoder
    if failed and not some:
        raise failed


def _open_model(name: str, device: str | torch.device, named: Collection[str]) -> ImageEncoder | PromptScorer:
    here = Path(name).expanduser()
    if not here.exists() and not re.fullmatch(r"[\w.-]+/[\w.-]+", name):
        known = did_you_mean(name, named)
        raise TriptychError(f"there is no encoder {name!r}, as a name, a folder or a hub id such as org/name{known}")
    path = str(here) if here.exists() else name
    families = {family: encoder for encoder in PLUGINS.classes().values() for family in encoder.families}
    try:
        family = "" if here.is_file() else _family(path)
        encoder = families.get(family) or (None if family else _by_tensors(path))
        if encoder:
            return encoder.open(path, device)
    except (OSError, ValueError, KeyError, RuntimeError, ImportError) as error:
        where = "model hub (and no folder of that name is here)"
        if here.exists():
            where = "file" if here.is_file() else "folder"
        raise TriptychError(f"cannot load the encoder {name} from the {where}: {first_line(error)}") from error
    raise TriptychError(
        f"{name} is a model of type {family!r}, not an encoder known here: {', '.join(sorted(families))}"
    )


def _family(path: str) -> str:
    """The type of the model in a folder or a hub id by its configuration; "" where that tells none."""
    from transformers import PreTrainedConfig

    stated = PreTrainedConfig.get_config_dict(path)[0]
    return str(stated.get("model_type", ""))


def _by_tensors(path: str) -> type[Encoder]:
    """The plug-in that knows the tensors at `path`.

    Raises:
        ValueError: there is none.
    """
    file = weights_at(path)
    for encoder in PLUGINS.classes().values():
        if file and any(name.endswith(own) for name in file.layouts for own in encoder.tensors):
            return encoder
    raise ValueError("neither a configuration nor the names of its tensors tell what model it is")
