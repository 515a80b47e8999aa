"""Embeddings inside a picture, as A1111's web UI shares them: in a text chunk of a PNG, or in the pixels.

The chunk `sd-ti-embedding` holds JSON in base64. The pixels hold JSON compressed with zlib: two black columns enclose
the visible picture, and the lower four bits of the pixels left and right of them are the lower and upper halves of the
bytes, masked with a sequence of numbers. For these files the web UI uses the name inside as the word.
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
LONGEST = 64_000_000  # bytes of JSON; a thousand vectors need some 20 million
LARGEST = 1 << 25  # pixels; enough for LONGEST after compression, beside a picture of 3000 by 3000
STEP, ADDED = 1664525, 1013904223  # x -> STEP x + ADDED modulo 2^32, from 0
MASK = 255  # the mask is x modulo this, of which the lowest four bits are used
STATED = ("name", "step", "sd_checkpoint", "sd_checkpoint_name")


class PictureEmbedding(Format):
    name = "picture-embedding"
    kind = "textual-inversion"
    title = "a word's vectors inside a picture, in a text chunk or in the pixels"
    suffixes = (".png", ".webp")
    readers = ("A1111",)
    writes = False
    checked = ("A1111",)

    def recognise(self, file: TensorFile) -> Recognised | None:
        table = _table(file)
        if table is None:
            return None
        rows = _rows(file.path, table)
        layouts = {ROWS: Layout("F32", (len(rows), len(rows[0])))}
        return Recognised(
            self.kind, self.name, embedding_family(layouts), described(layouts, table), (_token(file, table),)
        )

    def read(self, file: TensorFile) -> Artifact:
        import torch

        table = _table(file) or {}
        vectors = torch.tensor(_rows(file.path, table), dtype=torch.float32)
        if not vectors.isfinite().all():
            raise TriptychError(f"{file.path} is damaged: its vectors hold values that are not finite numbers")
        return word_artifact(
            file.path, {ROWS: vectors}, _token(file, table), {name: table.get(name) for name in STATED}
        )


def _table(file: TensorFile) -> dict[str, Any] | None:
    """The table inside the picture; None where there is none.

    Raises:
        TriptychError: the file is not a picture, or the embedding inside is damaged.
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
        table = json.loads(text) if text else None
    except (UnidentifiedImageError, OSError, SyntaxError, Image.DecompressionBombError) as error:
        raise TriptychError(f"{file.path} cannot be read as a picture: {error}") from error
    except (ValueError, RecursionError) as error:
        raise TriptychError(f"the embedding inside {file.path} is damaged: {error}") from error
    return table if isinstance(table, dict) and "string_to_param" in table else None


def _token(file: TensorFile, table: dict[str, Any]) -> str:
    name = table.get("name")
    return name if isinstance(name, str) and name else file.path.stem


def _rows(path: Path, table: dict[str, Any]) -> list[list[float]]:
    """The word's vectors, one per row.

    Raises:
        TriptychError: there are none.
    """
    params = table["string_to_param"]
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
    """The JSON hidden in the pixels; None where there is none."""
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
    lower, upper = _unmasked(left), _unmasked(right)
    return _inflated((upper << 4 | lower).tobytes())


def _unmasked(block: NDArray[Any]) -> NDArray[Any]:
    import numpy as np

    return np.asarray(block.reshape(-1) ^ (_sequence(block.size) & 0x0F))


def _sequence(length: int) -> NDArray[Any]:
    """The first numbers of the sequence, by doubling. `step` and `added` map x to the number len(x) places later."""
    import numpy as np

    x, step, added = np.array([ADDED], dtype=np.uint32), STEP, ADDED
    while len(x) < length:
        x = np.concatenate([x, x[: length - len(x)] * np.uint32(step) + np.uint32(added)])  # wraps at 2^32
        step, added = step * step % (1 << 32), (step * added + added) % (1 << 32)
    return np.asarray(x[:length] % MASK, dtype=np.uint8)


def _inflated(data: bytes) -> bytes | None:
    """Decompress with zlib; None where the data is invalid, or larger than any embedding."""
    inflater = zlib.decompressobj()
    try:
        found = inflater.decompress(data, LONGEST)
    except zlib.error:
        return None
    return found if inflater.eof else None
