"""Keeps encoded pictures on disk, so that no picture is encoded twice: not by another method, run or process.

An entry's key is a hash over the pixels and all that the result depends on: the base's weights, data type, device.
Pictures that were encoded in one batch are one entry, since the last bits of a result depend on its batch.
"""

from __future__ import annotations

import os
from contextlib import suppress
from hashlib import sha256
from typing import TYPE_CHECKING

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from ..errors import TriptychError
from ..files.atomic import cache_folder, write_bytes

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from PIL import Image

    from ..base import Base

FOLDER = "latents"
MOST = 4 * 2**30  # bytes of all entries; beyond it, those whose last use is longest ago are deleted
SCHEMA = 1  # raise it when what is encoded changes


def latents_of(base: Base, pictures: Sequence[Image.Image], *, alone: bool = False) -> list[Tensor]:
    """The latents of RGB pictures, each [channels, height, width], from disk where they are kept.

    Args:
        pictures: of one size, unless `alone`.
        alone: encode each by itself, so that they may differ in size, and share entries with other selections.
    """
    size = 1 if alone else base.description.drawing.batch
    groups = [pictures[start : start + size] for start in range(0, len(pictures), size)]
    folder = cache_folder() / FOLDER
    latents = [latent for group in groups for latent in _group(base, group, folder)]
    trim(folder)
    return latents


def _group(base: Base, pictures: Sequence[Image.Image], folder: Path) -> Sequence[Tensor]:
    path = folder / f"{_key(base, pictures)}.safetensors"
    if (found := _read(path)) is not None:
        return list(found.to(base.device))
    latents = base.latents(pictures)
    last = latents.permute(0, 2, 3, 1).contiguous().cpu()  # channels last, as the autoencoder gives them
    with suppress(TriptychError):  # a cache that cannot be written is no reason to fail
        write_bytes(path, save({"latents": last}, {"layout": str(int(latents[0].stride(0) == 1))}))
    return list(latents)


def _key(base: Base, pictures: Sequence[Image.Image]) -> str:
    scale = f"{base.vae.config.scaling_factor} {base.vae.config.shift_factor}"  # not among the weights
    how = f"{SCHEMA} {base.identity} {scale} {base.vae.dtype} {base.device.type} {torch.__version__}"
    digest = sha256(how.encode())
    for picture in pictures:
        digest.update(f"{picture.size} {picture.mode}".encode() + picture.tobytes())
    return digest.hexdigest()[:32]


def _read(path: Path) -> Tensor | None:
    """Latents [pictures, channels, height, width] in the memory format that they had; None where there is no entry."""
    try:
        data = path.read_bytes()
        latents = load(data)["latents"].permute(0, 3, 1, 2)
    except (OSError, SafetensorError, KeyError, ValueError, RuntimeError):
        return None
    with suppress(OSError):  # a folder that can only be read
        os.utime(path)
    return latents if b'"layout":"1"' in data[:1000] else latents.contiguous()


def trim(folder: Path, most: int = MOST) -> None:
    """Delete the entries whose last use is longest ago until the folder has at most `most` bytes."""
    found = []
    for path in folder.glob("*"):  # files that a killed process left behind are entries, too
        with suppress(OSError):  # another process may have deleted it
            found.append((path.stat().st_mtime, path.stat().st_size, path))
    total = sum(size for _, size, _ in found)
    for _, size, path in sorted(found):
        if total <= most:
            break
        with suppress(OSError):
            path.unlink(missing_ok=True)
        total -= size
