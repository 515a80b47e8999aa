"""Writes previews of pictures beside where they will be, and removes each when its picture is ready."""

from __future__ import annotations

import io
from pathlib import Path
from types import TracebackType
from typing import Self

from ..files.atomic import write_bytes
from ..sampling.preview import Preview

LEAST = 128  # pixels of a preview's shorter side, to which small ones are enlarged


class Previews:
    """The previews of the pictures in a folder: `00003-preview.png` of the picture 3. At the end of the `with` block
    those of pictures that were not finished are removed, too."""

    def __init__(self, folder: Path, first: int) -> None:
        self.folder, self.first = folder, first
        self.paths: dict[int, Path] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number in list(self.paths):
            self.remove(number)

    def __call__(self, seen: Preview) -> None:
        """Write what is seen now.

        Raises:
            TriptychError: a file cannot be written.
        """
        from PIL.Image import Resampling

        for place, picture in zip(seen.places, seen.pictures(), strict=True):
            scale = max(1, -(-LEAST // min(picture.size)))
            large = picture.resize((picture.width * scale, picture.height * scale), Resampling.BILINEAR)
            buffer = io.BytesIO()
            large.save(buffer, "png")
            path = self.paths.setdefault(place, self.folder / f"{self.first + place:05}-preview.png")
            write_bytes(path, buffer.getvalue())

    def remove(self, number: int) -> None:
        """Remove the preview of a picture, if there is one."""
        if path := self.paths.pop(number, None):
            path.unlink(missing_ok=True)
