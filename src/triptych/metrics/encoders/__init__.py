"""Encoders: they turn pictures (and texts) into features of length 1. None is part of the base that is judged.

An encoder is a file in this folder, or a class that an entry point of another package names (see `plugins`).
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal, Protocol, overload, runtime_checkable

from ...errors import TriptychError, did_you_mean
from ...plugins import Plugins

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

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


class Encoder(ABC):
    """A plug-in that opens an encoder.

    Class attributes:
        known_as: its name. An encoder without `families` is opened by this name.
        families: the model types (`model_type` in a configuration of transformers) that it opens from a folder or a
            hub id.
    """

    known_as: ClassVar[str]
    families: ClassVar[tuple[str, ...]] = ()

    @classmethod
    @abstractmethod
    def open(cls, path: str, device: str | torch.device) -> ImageEncoder:
        """Open the encoder; from a folder or a hub id if it has `families`."""


PLUGINS = Plugins[Encoder](Encoder, __name__, "triptych.encoders", name="known_as")


@overload
def open_encoder(name: str, kind: Literal["image"], device: str | torch.device = "cpu") -> ImageEncoder: ...
@overload
def open_encoder(name: str, kind: Literal["text"], device: str | torch.device = "cpu") -> TextImageEncoder: ...
def open_encoder(name: str, kind: Literal["image", "text"], device: str | torch.device = "cpu") -> ImageEncoder:
    """Open an encoder by name, from a folder, or from a model hub: a DINOv2, a CLIP, or a plug-in's.

    Args:
        name: a name, a path, or a hub id such as "facebook/dinov2-base".
        kind: "text" requires an encoder that also reads texts, such as a CLIP.

    Raises:
        TriptychError: there is no such encoder, it cannot be loaded, or it reads no texts although it should.
    """
    named = {encoder.known_as: encoder for encoder in PLUGINS.classes().values() if not encoder.families}
    encoder = named[name].open(name, device) if name in named else _open_model(name, device, named)
    if kind == "text" and not isinstance(encoder, TextImageEncoder):
        raise TriptychError(
            f"{name} sees pictures but reads no texts; give a CLIP, such as openai/clip-vit-base-patch32"
        )
    return encoder


def _open_model(name: str, device: str | torch.device, named: Collection[str]) -> ImageEncoder:
    from transformers import AutoConfig

    here = Path(name).expanduser()
    if not here.exists() and not re.fullmatch(r"[\w.-]+/[\w.-]+", name):
        known = did_you_mean(name, named)
        raise TriptychError(f"there is no encoder {name!r}, as a name, a folder or a hub id such as org/name{known}")
    path = str(here) if here.exists() else name
    families = {family: encoder for encoder in PLUGINS.classes().values() for family in encoder.families}
    try:
        family: str = AutoConfig.from_pretrained(path).model_type
        if family in families:
            return families[family].open(path, device)
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        where = "folder" if here.exists() else "model hub (and no folder of that name is here)"
        why = str(error).strip().partition("\n")[0]
        raise TriptychError(f"cannot load the encoder {name} from the {where}: {why}") from error
    raise TriptychError(
        f"{name} is a model of type {family!r}, not an encoder known here: {', '.join(sorted(families))}"
    )
