"""The file of weights of an encoder: a file, or that in a folder or of a hub id."""

from __future__ import annotations

from pathlib import Path

from ...files.tensorfile import TensorFile

NAMES = ("model.safetensors", "pytorch_model.bin", "checkpoint.pth")  # as models name their file of weights


def weights_at(path: str) -> TensorFile | None:
    """The file of weights at `path`: that very file, or the one of a folder or hub id; None where there is none.

    Raises:
        OSError: the hub cannot be reached, or has no such model.
        TriptychError: the file is damaged, or could do harm.
    """
    from transformers.utils import cached_file

    if Path(path).is_file():
        return TensorFile.open(Path(path))
    for name in NAMES:
        found = cached_file(path, name, _raise_exceptions_for_missing_entries=False)
        if found is not None:
            return TensorFile.open(Path(found))
    return None
