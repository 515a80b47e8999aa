"""Embeddings that a picture carries, as A1111's web UI shares them: in a text chunk of a PNG, or in the pixels.

In the chunk `sd-ti-embedding` lies base64 of JSON. In the pixels lies JSON under zlib: the picture proper stands
between two black columns, and the lower four bits of what is left and right of them are the lower and upper halves of
its bytes, veiled by a sequence of numbers. Unlike its other files, the web UI calls this word by the name inside.
"""

from __future__ import annotations

import base64
import json
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...errors import TriptychError
from ...files.layout import Layout
from ...files.tensorfile import TensorFile
from ..word_files import ROWS, described, embedding_family, word_artifact
from . import Format, Recognised

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ..artifact import Artifact

CHUNK = "sd-ti-embedding"
LONGEST = 64_000_000  # bytes of JSON: a thousand vectors need some 20 million
LARGEST = 1 << 25  # pixels: what LONGEST squeezes to has room in them, beside a picture of 3000 by 3000
STEP, ADDED = 1664525, 1013904223  # x -> STEP x + ADDED modulo 2^32, from 0
VEIL = 255  # the sequence that veils is x modulo this, of which the lowest four bits count
TOLD = ("name", "step", "sd_checkpoint", "sd_checkpoint_name")


class PictureEmbedding(Format):
    name = "picture-embedding"
    kind = "textual-inversion"
    title = "a word's vectors inside a picture, in a text chunk or in the pixels"
    suffixes = (".png", ".webp")
    readers = ("A1111",)
    writes = False
    checked = ("A1111",)

    def recognise(self, file: TensorFile) -> Recognised | None:
        told = _told(file)
        if told is None:
            return None
        rows = _rows(file.path, told)
        layouts = {ROWS: Layout("F32", (len(rows), len(rows[0])))}
        return Recognised(
            self.kind, self.name, embedding_family(layouts), described(layouts, told), (_token(file, told),)
        )

    def read(self, file: TensorFile) -> Artifact:
        import torch

        told = _told(file) or {}
        vectors = torch.tensor(_rows(file.path, told), dtype=torch.float32)
        if not vectors.isfinite().all():
            raise TriptychError(f"{file.path} is damaged: its vectors hold values that are not finite numbers")
        return word_artifact(file.path, {ROWS: vectors}, _token(file, told), {name: told.get(name) for name in TOLD})


def _told(file: TensorFile) -> dict[str, Any] | None:
    """The table that the picture carries; None where it carries none.

    Raises:
        TriptychError: it is no picture, or what it carries is damaged.
    """
    if file.container != "picture":
        return None
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(file.path) as picture:
            if picture.width * picture.height > LARGEST:
                raise TriptychError(f"{file.path} is larger than any picture that holds an embedding")
            chunk = getattr(picture, "text", {}).get(CHUNK) or picture.info.get(CHUNK)
            text = base64.b64decode(chunk, validate=True) if chunk else _hidden(picture.convert("RGB"))
        told = json.loads(text) if text else None
    except (UnidentifiedImageError, OSError, SyntaxError, Image.DecompressionBombError) as error:
        raise TriptychError(f"{file.path} cannot be read as a picture: {error}") from error
    except (ValueError, RecursionError) as error:
        raise TriptychError(f"the embedding inside {file.path} is damaged: {error}") from error
    return told if isinstance(told, dict) and "string_to_param" in told else None


def _token(file: TensorFile, told: dict[str, Any]) -> str:
    name = told.get("name")
    return name if isinstance(name, str) and name else file.path.stem


def _rows(path: Path, told: dict[str, Any]) -> list[list[float]]:
    """The word's vectors, one a row.

    Raises:
        TriptychError: there are none.
    """
    params = told["string_to_param"]
    values = next(iter(params.values()), None) if isinstance(params, dict) and len(params) == 1 else None
    rows = values.get("TORCHTENSOR") if isinstance(values, dict) else None
    if not isinstance(rows, list) or not rows or not all(isinstance(row, list) and row for row in rows):
        raise TriptychError(f"the embedding inside {path} has no vectors")
    numbers = all(isinstance(value, int | float) for row in rows for value in row)
    if not numbers or {len(row) for row in rows} != {len(rows[0])}:
        raise TriptychError(f"the embedding inside {path} is damaged: its vectors are not rows of numbers")
    try:
        return [[float(value) for value in row] for row in rows]
    except OverflowError:
        raise TriptychError(f"the embedding inside {path} is damaged: a number in it is too large") from None


def _hidden(picture: Any) -> bytes | None:
    """What the pixels hide, None where they hide nothing."""
    import numpy as np

    pixels: NDArray[Any] = np.asarray(picture, dtype=np.uint8)
    bright: NDArray[Any] = np.asarray((pixels > 0).all(axis=2))
    columns, rows = np.flatnonzero(bright.any(axis=0)), np.flatnonzero(bright.any(axis=1))
    if not len(columns):
        return None
    low = pixels[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1] & 0x0F
    black = np.flatnonzero(low.sum(axis=(0, 2), dtype=np.int64) == 0)
    if len(black) < 2:
        return None
    left, right = low[:, : black[0]], low[:, black[-1] + 1 :]
    if left.shape != right.shape or not left.size:
        return None
    lower, upper = _unveiled(left), _unveiled(right)
    return _inflated((upper << 4 | lower).tobytes())


def _unveiled(block: NDArray[Any]) -> NDArray[Any]:
    import numpy as np

    return np.asarray(block.reshape(-1) ^ (_sequence(block.size) & 0x0F))


def _sequence(length: int) -> NDArray[Any]:
    """The first numbers of the sequence, found by doubling: `step` and `added` lead from x to the one `len` later."""
    import numpy as np

    x, step, added = np.array([ADDED], dtype=np.uint32), STEP, ADDED
    while len(x) < length:
        x = np.concatenate([x, x[: length - len(x)] * np.uint32(step) + np.uint32(added)])  # which wraps at 2^32
        step, added = step * step % (1 << 32), (step * added + added) % (1 << 32)
    return np.asarray(x[:length] % VEIL, dtype=np.uint8)


def _inflated(data: bytes) -> bytes | None:
    """What is under zlib; None where that is nothing, or more than any embedding."""
    inflater = zlib.decompressobj()
    try:
        found = inflater.decompress(data, LONGEST)
    except zlib.error:
        return None
    return found if inflater.eof else None
