"""The header of a safetensors file, checked entry by entry. Writing is in `streaming`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, BinaryIO

from ..errors import TriptychError, shown
from .kinds import KINDS
from .layout import Layout, View
from .pickle_values import DEEPEST, is_count

LONGEST_HEADER = 100_000_000  # bytes, the limit of the safetensors library
MOST_PARTS = 2_000_000  # of a header: characters that begin a JSON object or array, or separate its members


@dataclass(frozen=True)
class Header:
    """A parsed header. `data`: the byte at which the tensors begin."""

    layouts: Mapping[str, Layout]
    metadata: Mapping[str, str]
    data: int


def begins_safetensors(first: bytes) -> bool:
    """Whether the bytes are a plausible length and the start of a JSON object.

    The first byte alone does not tell: one length in 32 begins with the byte that pickles begin with.
    """
    return int.from_bytes(first[:8], "little") <= LONGEST_HEADER and first[8:9] == b"{"


def read_header(file: BinaryIO, name: str, size: int) -> Header:
    """Read the header of the open `file` of `size` bytes. Errors call the file `name`.

    Raises:
        TriptychError: it is not a safetensors file, is cut off or damaged, or contains no tensors.
    """
    file.seek(0)
    length = int.from_bytes(file.read(8), "little")
    if not 2 <= length <= min(LONGEST_HEADER, size - 8):
        raise TriptychError(
            f"{name} is not a safetensors file, or cut off within its header (of {length} bytes by its own account)"
        )
    header = _table(name, file.read(length))
    metadata = header.pop("__metadata__", {})
    if not isinstance(metadata, dict) or not all(isinstance(text, str) for text in metadata.values()):
        raise TriptychError(f"{name} is damaged: its metadata is no table of texts")
    if not header:
        raise TriptychError(f"{name} holds no tensors")
    return Header(_layouts(name, header, 8 + length, size), metadata, 8 + length)


def _table(name: str, data: bytes) -> dict[str, Any]:
    """The header's JSON. It is parsed only if it has no more parts than a file of tensors needs."""
    if data.count(b",") > MOST_PARTS or data.count(b"[") + data.count(b"{") > MOST_PARTS // 4:
        raise TriptychError(f"{name} has a header of more parts than any file of tensors")
    try:
        header = json.loads(data, object_pairs_hook=_no_twins)
    except UnicodeError as error:
        raise TriptychError(f"{name} is damaged: its header holds what is no Unicode") from error
    except (ValueError, RecursionError) as error:
        raise TriptychError(f"{name} is not a safetensors file: its header is not JSON ({error})") from error
    if not isinstance(header, dict):
        raise TriptychError(f"{name} is not a safetensors file: its header is no table")
    return header


def _no_twins(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    for key, value in pairs:
        (key + value if isinstance(value, str) else key).encode()  # raises for lone surrogates, which json accepts
    table = dict(pairs)
    if len(table) < len(pairs):
        raise ValueError("it names something twice")
    return table


def _layouts(name: str, header: Mapping[str, Any], begin: int, size: int) -> dict[str, Layout]:
    """The layouts of all tensors. Their bytes must fill the file from `begin` to its end without a gap."""
    layouts: dict[str, Layout] = {}
    places: dict[str, tuple[int, int]] = {}
    for tensor, entry in header.items():
        broken = f"{name} is damaged: its tensor {shown(tensor)}"
        entry = entry if isinstance(entry, dict) else {}
        shape, dtype, place = (entry.get(key) for key in ("shape", "dtype", "data_offsets"))
        if not isinstance(dtype, str) or dtype not in KINDS:
            raise TriptychError(f"{broken} is of the kind {shown(repr(dtype))}, which there is not")
        sizes, ends = _counts(shape), _counts(place)
        if sizes is None or ends is None or len(ends) != 2:
            raise TriptychError(f"{broken} has a shape or a place that are no counts")
        layouts[tensor] = Layout(dtype, sizes, View(begin + ends[0]))
        places[tensor] = (ends[0], ends[1])
        wanted, there = layouts[tensor].numbers * KINDS[dtype].bytes, ends[1] - ends[0]
        if there != wanted:
            raise TriptychError(f"{broken} needs {wanted} bytes by its shape {shown(shape)}, and has {there}")
    _check_places(name, places, size - begin)
    return layouts


def _check_places(name: str, places: Mapping[str, tuple[int, int]], length: int) -> None:
    end = 0
    for tensor in sorted(places, key=lambda tensor: places[tensor]):
        if places[tensor][0] != end:
            raise TriptychError(
                f"{name} is damaged: its tensor {shown(tensor)} does not begin where the one before it ends"
            )
        end = places[tensor][1]
        if end > length:
            whole = max(last for _, last in places.values())
            raise TriptychError(
                f"{name} is cut off: {whole - length} of its {whole} bytes of tensors are missing,"
                f" from its tensor {shown(tensor)} on"
            )
    if end < length:
        raise TriptychError(f"{name} is damaged: {length - end} bytes follow its last tensor")


def _counts(values: Any) -> tuple[int, ...] | None:
    right = isinstance(values, list) and len(values) <= DEEPEST
    return tuple(values) if right and all(map(is_count, values)) else None
