"""An encoder that remembers, in the study's folder, what it saw: a new row or prompt encodes its own pictures alone."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Sequence
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from ..files.atomic import make_folder, write_bytes
from ..metrics.encoders import ImageEncoder

if TYPE_CHECKING:
    from PIL import Image
    from torch import Tensor

Key = bytes  # SHA-256 of a picture's pixels


class Remembering:
    """Another encoder, whose features of pictures are kept by the pixels that it was given.

    Files are `<folder>/<digest of the encoder>/*.npz`, one for each batch of new pictures. One that cannot be read is
    as good as none. All else is the other encoder's own.
    """

    def __init__(self, encoder: ImageEncoder, folder: Path) -> None:
        self.encoder, self.name, self.digest = encoder, encoder.name, encoder.digest
        self._folder = folder / sha256(encoder.digest.encode()).hexdigest()[:16]

    def __getattr__(self, name: str) -> Any:
        if name == "encoder":  # while it is made, as by a copy
            raise AttributeError(name)
        return getattr(self.encoder, name)

    def images(self, pictures: Sequence[Image.Image]) -> Tensor:
        """As the other encoder's: float32 [pictures, d] on the CPU. Only pictures that are new are encoded."""
        keys = [_key(picture) for picture in pictures]
        new = {key: picture for key, picture in zip(keys, pictures, strict=True) if key not in self._known}
        if new:
            features = self.encoder.images([*new.values()]).numpy()
            self._known.update(zip(new, features, strict=True))
            self._write([*new], features)
        return torch.from_numpy(np.stack([self._known[key] for key in keys]))

    @cached_property
    def _known(self) -> dict[Key, NDArray[np.float32]]:
        known: dict[Key, NDArray[np.float32]] = {}
        for path in sorted(self._folder.glob("*.npz")):
            try:
                with np.load(path) as file:
                    known.update(zip(map(bytes, file["keys"]), file["features"], strict=True))
            except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
                continue
        return known

    def _write(self, keys: list[Key], features: NDArray[np.float32]) -> None:
        make_folder(self._folder)
        buffer = io.BytesIO()
        np.savez(buffer, keys=np.array([np.frombuffer(key, np.uint8) for key in keys]), features=features)
        write_bytes(self._folder / f"{sha256(b''.join(keys)).hexdigest()[:16]}.npz", buffer.getvalue())


def _key(picture: Image.Image) -> Key:
    return sha256(f"{picture.mode} {picture.size}".encode() + picture.tobytes()).digest()
