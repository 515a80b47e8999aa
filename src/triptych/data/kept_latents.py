"""Keeps encoded pictures on disk, so that no picture is encoded twice: not by another method, run or process.

An entry's key is a hash over the pixels and all that the result depends on: the base's weights, data type, device.
Pictures that were encoded in one batch are one entry, since the last bits of a result depend on its batch.
"""

from __future__ import annotations

from hashlib import sha256
from itertools import islice
from typing import TYPE_CHECKING

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from ..files.atomic import cache_folder
from ..files.kept import read_kept, trim, write_kept

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

    from PIL import Image

    from ..base import Base

FOLDER = "latents"
MOST = 4 * 2**30  # bytes of all entries; beyond it, those whose last use is longest ago are deleted
SCHEMA = 1  # raise it when what is encoded changes


def latents_of(base: Base, pictures: Iterable[Image.Image], *, alone: bool = False) -> list[Tensor]:
    """The latents of RGB pictures, each [channels, height, width], from disk where they are kept.

    Args:
        pictures: of one size, unless `alone`. They are taken batch by batch, so that others can be made meanwhile.
        alone: encode each by itself, so that they may differ in size, and share entries with other selections.
    """
    size = 1 if alone else base.description.sampling.batch
    folder = cache_folder() / FOLDER
    latents = [latent for group in _batches(pictures, size) for latent in _group(base, group, folder)]
    trim(folder, MOST)
    return latents


def _batches(pictures: Iterable[Image.Image], size: int) -> Iterator[list[Image.Image]]:
    left = iter(pictures)
    while batch := list(islice(left, size)):
        yield batch


def _group(base: Base, pictures: Sequence[Image.Image], folder: Path) -> Sequence[Tensor]:
    path = folder / f"{_key(base, pictures)}.safetensors"
    if (found := _read(path)) is not None:
        return list(found.to(base.device))
    latents = base.latents(pictures)
    last = latents.permute(0, 2, 3, 1).contiguous().cpu()  # channels last, as the autoencoder gives them
    write_kept(path, save({"latents": last}, {"layout": str(int(latents[0].stride(0) == 1))}))
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
    data = read_kept(path)
    try:
        latents = load(data or b"")["latents"].permute(0, 3, 1, 2)
    except (SafetensorError, KeyError, ValueError, RuntimeError):
        return None
    return latents if b'"layout":"1"' in (data or b"")[:1000] else latents.contiguous()
