"""What the tests of the criteria look at: plain pictures by colour, and figures on plain backgrounds."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from PIL import Image, ImageDraw
from torch.nn import functional as F

from triptych.data.concept import Concept
from triptych.metrics import Evidence, Role, Shown, metrics
from triptych.scores import Score

if TYPE_CHECKING:
    from collections.abc import Sequence

DEMO = Path(__file__).parents[1] / "src" / "triptych" / "base" / "demo"
RED, GREEN, BLUE = (255, 0, 0), (0, 255, 0), (0, 0, 255)


class Colours:
    """An encoder that sees the mean colour, and reads "red", "green" and "blue"."""

    name = digest = "colours"

    def __init__(self) -> None:
        self.seen = 0

    def images(self, pictures: Sequence[Image.Image]) -> torch.Tensor:
        self.seen += len(pictures)
        return F.normalize(torch.tensor(np.stack([np.asarray(p).mean((0, 1)) for p in pictures])).float(), dim=-1)

    def texts(self, texts: Sequence[str]) -> torch.Tensor:
        return torch.tensor([[float(colour in text) for colour in ("red", "green", "blue")] for text in texts])


class Study:
    """Plain pictures by colour, drawn on request."""

    def __init__(self, folder: Path, real: Sequence[tuple[int, int, int]]) -> None:
        (folder / "red-cat").mkdir()
        for i, colour in enumerate(real):
            Image.new("RGB", (8 + i, 8 + i), colour).save(folder / "red-cat" / f"{i}.png")
        self.folder = folder
        self.drawn: list[Shown] = []
        self.encoder = Colours()
        self.evidence = Evidence(Concept.open(folder / "red-cat"), self.drawn, self.encoder, 8)

    def draw(
        self,
        method: str,
        colour: tuple[int, int, int],
        *,
        seed: int = 0,
        prompt: str = "a red cat",
        run: int = 0,
        role: Role = "concept",
    ) -> None:
        name = f"{len(self.drawn)}.png"
        Image.new("RGB", (8, 8), colour).save(self.folder / name)
        self.drawn.append(Shown(method, run, role, prompt, seed, self.folder / name, name))

    def scores(self, name: str) -> list[Score]:
        return list(metrics()[name].measure(self.evidence))

    def values(self, name: str) -> list[float]:
        return [round(score.value, 5) for score in self.scores(name)]


def composed(
    colour: tuple[int, int, int], left: float, side: float, figure: tuple[int, int, int] = (250, 250, 20)
) -> Image.Image:
    """A disc on a plain background; lengths are parts of the picture's side of 64."""
    picture = Image.new("RGB", (64, 64), colour)
    top = 32 - 32 * side
    ImageDraw.Draw(picture).ellipse((64 * left, top, 64 * (left + side), top + 64 * side), fill=figure)
    return picture
