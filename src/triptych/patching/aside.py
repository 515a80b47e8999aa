"""Sets tensors aside in temporary files, mapped into memory: while they wait they take no room on the device."""

from __future__ import annotations

import shutil
from pathlib import Path
from tempfile import TemporaryDirectory
from types import TracebackType
from typing import Self

import torch
from torch import Tensor

from ..errors import TriptychError
from ..units import size


class Aside:
    """A temporary folder of tensors. It is deleted at the end of the `with` block, or by `close`."""

    def __init__(self) -> None:
        self._folder = TemporaryDirectory(prefix="triptych-", ignore_cleanup_errors=True)
        self._count = 0

    def put(self, tensor: Tensor) -> Tensor:
        """A copy of the tensor, with its shape, strides and data type, on the CPU and in a file.

        Raises:
            TriptychError: the disk of the temporary folder has no room for it.
        """
        like = torch.empty_like(tensor, device="meta")
        if shutil.disk_usage(self._folder.name).free < 2 * like.nbytes:
            raise TriptychError(
                f"there is no room on the disk of {self._folder.name} to set aside {size(like.nbytes)} of weights;"
                " the variable TMPDIR names another place"
            )
        path = Path(self._folder.name) / str(self._count)
        self._count += 1
        mapped = torch.from_file(str(path), shared=True, size=max(like.nbytes, 1), dtype=torch.uint8)
        kept = torch.empty(0, dtype=tensor.dtype)
        kept.set_(mapped.untyped_storage(), 0, like.shape, like.stride())
        return kept.copy_(tensor.detach())

    def close(self) -> None:
        self._folder.cleanup()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()


def back(kept: Tensor, device: torch.device) -> Tensor:
    """A tensor that was set aside, in the memory of the device."""
    return kept.to(device, copy=True)


def is_aside(tensor: Tensor) -> bool:
    """Whether the tensor lies in a file, and so takes no memory that must be there."""
    return tensor.device.type == "cpu" and tensor.untyped_storage().filename is not None
