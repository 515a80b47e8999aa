"""Keeps encoded prompts on disk, where no open patch changes the text encoders: no run encodes them again.

An entry's key is a hash over the token ids and all that the result depends on: the base's weights, how its encoders
read, data type, device. Prompts that were encoded in one call are one entry, since the last bits depend on it.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from ..base import Base, Conditioning, Owner
from ..files.atomic import cache_folder
from ..files.kept import read_kept, trim, write_kept

FOLDER = "texts"
MOST = 2**30  # bytes of all entries; beyond it, those whose last use is longest ago are deleted
SCHEMA = 1  # raise it when what is encoded changes


@torch.no_grad()
def encoded(base: Base, asked: Sequence[tuple[Owner, Sequence[str]]]) -> Conditioning:
    """The conditioning of the prompts of all owners, as `base.encode_for`, from disk where it is kept."""
    if not base.reads_as_opened:
        return base.encode_for(asked)
    folder = cache_folder() / FOLDER
    path = folder / f"{_key(base, [prompt for _, prompts in asked for prompt in prompts])}.safetensors"
    if (found := _read(path)) is not None:
        return Conditioning(*(None if tensor is None else tensor.to(base.device) for tensor in found))  # type: ignore[arg-type]
    texts = base.encode_for(asked)
    parts = {"hidden": texts.hidden, "pooled": texts.pooled, "mask": texts.mask}
    write_kept(path, save({name: part.contiguous().cpu() for name, part in parts.items() if part is not None}))
    trim(folder, MOST)
    return texts


def _key(base: Base, prompts: Sequence[str]) -> str:
    digest = sha256(f"{SCHEMA} {base.identity} {base.device.type} {torch.__version__}".encode())
    for text in base.texts:
        how = (text.name, text.encoder.dtype, text.penultimate, text.most_chunks, text.room, text.skip)
        digest.update(f"{how} {text.spell(prompts)}".encode())
    return digest.hexdigest()[:32]


def _read(path: Path) -> tuple[Tensor, Tensor | None, Tensor | None] | None:
    """Hidden states, pooled states and mask; None where there is no entry."""
    try:
        found = load(read_kept(path) or b"")
        return found["hidden"], found.get("pooled"), found.get("mask")
    except (SafetensorError, KeyError, ValueError, RuntimeError):
        return None
