"""A file of named tensors in any container. Opening reads the header; tensors are read when they are asked for.

Opening a file needs no torch, and takes no longer for gigabytes than for kilobytes.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from mmap import mmap
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Literal

from ..errors import TriptychError, shown
from . import archives
from .layout import Layout, View
from .mapped import finite, mapped, tensors_in
from .mistaken import TEXTS, mistaken
from .pickle_values import Storage
from .pickle_values import Tensor as Described
from .safetensors_header import begins_safetensors, read_header

if TYPE_CHECKING:
    from torch import Tensor

FIRST = 512  # bytes by which a container is recognised
PICTURES = (b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"GIF8")
OPTIMISERS = ("optimizer_state_dict.", "optimizer_states.", "optimizer.", "optim.")  # prefixes of an optimiser's state
NAMED = 3  # types left out that a message names

Stamp = tuple[int, int, int, int]


@dataclass(frozen=True)
class TensorFile:
    """The header of one file.

    A picture has no layouts, metadata or values; the format of embeddings in pictures reads what it carries.

    Attributes:
        layouts: every tensor by name. In a pickle nested names are joined by dots ("string_to_param.*",
            "768.0.linear.0.weight"), and the name of a tensor that is the whole pickle is "".
        metadata: the texts in a safetensors file.
        values: the plain numbers, texts and short lists beside the tensors of a pickle.
        data: the byte at which the tensors of a safetensors file begin.
        left_out: counts of the objects in a pickle that are not read, by type.
        optimiser: the number of tensors of an optimiser's state, which are not read.
        stamp: identifies the file and its last change.
    """

    path: Path
    container: Literal["safetensors", "pickle", "picture"]
    layouts: Mapping[str, Layout]
    metadata: Mapping[str, str] = field(default_factory=dict)
    values: Mapping[str, Any] = field(default_factory=dict)
    data: int = 0
    left_out: Mapping[str, int] = field(default_factory=dict)
    optimiser: int = 0
    stamp: Stamp | None = None

    @classmethod
    def open(cls, path: Path) -> TensorFile:
        """Read the header. The container is recognised by its content, not by its suffix.

        Raises:
            TriptychError: the file does not exist, contains no tensors, is damaged, or could do harm.
        """
        try:
            if path.is_dir():
                raise TriptychError(f"{path} is a folder, not a file of tensors")
            if not path.is_file():
                raise TriptychError(f"there is no file {path}")
            with path.open("rb") as file:
                return _opened(path, file)
        except OSError as error:
            raise TriptychError(f"{path} cannot be read: {error.strerror or error}") from error

    @property
    def missing_parts(self) -> str:
        """What is left out of a pickle, as a clause, or ""."""
        parts = [f"the state of its optimiser ({self.optimiser} tensors)"] if self.optimiser else []
        if self.left_out:
            names = [f"{name} ({count})" for name, count in Counter(self.left_out).most_common()]
            more = f" and {len(names) - NAMED} kinds more" if len(names) > NAMED else ""
            count = sum(self.left_out.values())
            parts.append(f"{count} object{'s' * (count > 1)}: {', '.join(names[:NAMED])}{more}")
        return "; ".join(parts)

    def tensors(self, names: Iterable[str] | None = None) -> dict[str, Tensor]:
        """The tensors of these names (all by default), mapped into memory.

        Raises:
            TriptychError: a tensor is missing or has values that are not finite, or the file has changed since its
                header was read.
        """
        wanted = list(self.layouts if names is None else names)
        for name in wanted:
            if name not in self.layouts:
                raise TriptychError(f"{self.path} has no tensor {shown(name)!r}")
        if not wanted:
            return {}
        try:
            found = tensors_in(self._bytes, {name: self.layouts[name] for name in wanted})
        except AttributeError as error:
            raise TriptychError(f"{self.path} has numbers of a kind that this torch does not have: {error}") from error
        for name, tensor in found.items():
            if not finite(tensor):
                raise TriptychError(
                    f"{self.path} is damaged: its tensor {shown(name)} holds values that are not finite numbers"
                )
        return found

    @cached_property
    def _bytes(self) -> mmap:
        try:
            with self.path.open("rb") as file:
                if _stamp(file) != self.stamp:
                    raise TriptychError(f"{self.path} has changed since it was looked at: open it again")
                return mapped(file)
        except (OSError, ValueError) as error:
            raise TriptychError(f"{self.path} cannot be read: {error}") from error


def _stamp(file: BinaryIO) -> Stamp:
    found = os.fstat(file.fileno())
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns


def _opened(path: Path, file: BinaryIO) -> TensorFile:
    first, stamp = file.read(FIRST), _stamp(file)
    if first[:4] == b"PK\x03\x04" or (first[:1] == b"\x80" and not begins_safetensors(first)):
        return _pickle(path, archives.content(file, str(path)), stamp)
    if first[8:9] == b"{" and first[:1] not in TEXTS:
        header = read_header(file, str(path), stamp[2])
        return TensorFile(path, "safetensors", header.layouts, header.metadata, {}, header.data, stamp=stamp)
    if first.startswith(PICTURES) or (first[:4], first[8:12]) == (b"RIFF", b"WEBP"):
        return TensorFile(path, "picture", {}, stamp=stamp)
    raise TriptychError(f"{path} is {mistaken(first)}, not a file of tensors")


def _pickle(path: Path, content: archives.Content, stamp: Stamp) -> TensorFile:
    layouts, values, optimiser = dict[str, Layout](), dict[str, Any](), 0
    for name, value in content.items:
        if name in layouts or name in values:
            raise TriptychError(f"{path} holds two values called {shown(name)!r}")
        if name.startswith(OPTIMISERS):
            optimiser += isinstance(value, Described)
        elif isinstance(value, Described):
            layouts[name] = Layout(value.dtype, value.shape, _view(value, content.starts))
        else:
            values[name] = value
    if not layouts:
        raise TriptychError(f"{path} holds no tensors{' but the state of an optimiser' if optimiser else ''}")
    return TensorFile(path, "pickle", layouts, {}, values, left_out=content.left_out, optimiser=optimiser, stamp=stamp)


def _view(tensor: Described, starts: Mapping[str, int]) -> View:
    source = tensor.source
    if isinstance(source, Storage):
        return View(starts[source.key], tensor.offset, tensor.stride, source.numbers)
    return View(0, tensor.offset, tensor.stride, inline=source)
