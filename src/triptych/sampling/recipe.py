"""Pictures that carry their recipe: a JSON text of our own, and the text that A1111 and Civitai read."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from .. import __version__
from ..base import Base, Drawing
from ..files.atomic import write_bytes

if TYPE_CHECKING:
    from PIL.Image import Image


@dataclass(frozen=True)
class Recipe:
    """Everything a picture depends on."""

    prompt: str
    seed: int
    drawing: Drawing
    base: str
    base_fingerprint: str
    size: int
    precision: str
    uses: Sequence[str] = field(default_factory=list)  # "file:strength"

    @classmethod
    def of(cls, base: Base, prompt: str, seed: int, uses: Sequence[str] = (), drawing: Drawing | None = None) -> Recipe:
        drawing, precision = drawing or base.description.drawing, str(base.dtype).removeprefix("torch.")
        return cls(prompt, seed, drawing, base.name, base.identity, base.resolution, precision, list(uses))

    def infotext(self) -> str:
        """The "parameters" text: prompt, negative prompt, and a line of settings."""
        drawing = self.drawing
        lines = [self.prompt, *([f"Negative prompt: {drawing.negative}"] if drawing.negative else [])]
        settings = {
            "Steps": drawing.steps, "Sampler": drawing.sampler, "CFG scale": drawing.guidance, "Seed": self.seed,
            "Size": f"{self.size}x{self.size}", "Model": Path(self.base).name, "Version": f"triptych {__version__}",
        }  # fmt: skip
        return "\n".join([*lines, ", ".join(f"{name}: {value}" for name, value in settings.items())])


def save_png(path: Path, picture: Image, recipe: Recipe) -> None:
    """Write it whole or not at all.

    Raises:
        TriptychError: the place cannot be written.
    """
    from PIL.PngImagePlugin import PngInfo

    told = PngInfo()
    told.add_text("parameters", recipe.infotext())
    told.add_text("triptych", json.dumps(asdict(recipe)))
    buffer = io.BytesIO()
    picture.save(buffer, "png", pnginfo=told)
    write_bytes(path, buffer.getvalue())
