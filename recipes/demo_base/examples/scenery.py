"""Known things under a drawn sky, in its light: what no named background can make."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

from recipes.demo_base.compose import Composer
from recipes.demo_base.examples.folder import PIXELS
from recipes.demo_base.world import Scene

Floats = np.ndarray[Any, np.dtype[np.float64]]
Colour = tuple[float, float, float]  # red, green, blue, 0 to 255


@dataclass(frozen=True)
class Scenery:
    """The colours of a sky, from above to the horizon, of what shines in it, and of the hills.

    `cast`: how much of a drawing's red, green and blue its light leaves.
    """

    zenith: Colour
    horizon: Colour
    lamp: Colour
    ground: Colour
    cast: Colour
    stars: int
    radius: float  # of the lamp, as a part of the picture's side

    def around(self, composer: Composer, subject: str, rng: np.random.Generator) -> Image.Image:
        """One subject in it."""
        lamp = np.array([rng.uniform(0.12, 0.88), rng.uniform(0.10, 0.22)]) * PIXELS
        canvas = self.landscape(self.sky(lamp, rng), rng)
        drawing = composer.art.pixels[composer.drawing(Scene(subject, "noto", "black")) or 0]
        side = round(PIXELS * rng.uniform(0.58, 0.66))
        left, top = round((PIXELS - side) / 2 + rng.uniform(-10, 10)), round(PIXELS * 0.94) - side
        whole = Image.frombytes("RGBa", (PIXELS, PIXELS), drawing.tobytes())
        small = whole.resize((side, side), Image.Resampling.HAMMING)
        lit = self.light(np.asarray(small).astype(float), lamp - (left, top))
        window = canvas[top : top + side, left : left + side]
        window[:] = lit[..., :3] + window * (1 - lit[..., 3:] / 255)
        return Image.fromarray(np.clip(canvas, 0, 255).astype(np.uint8))

    def sky(self, lamp: Floats, rng: np.random.Generator) -> Floats:
        """From above to the horizon, stars, the lamp with its halo: [PIXELS, PIXELS, 3], 0 to 255."""
        x, y = grid()
        way = (y / (0.8 * PIXELS)).clip(0, 1)[..., None] ** 1.4
        picture = np.array(self.zenith) * (1 - way) + np.array(self.horizon) * way
        for _ in range(self.stars):
            column, row = rng.integers(2, PIXELS - 4), rng.integers(2, int(0.65 * PIXELS))
            size = int(rng.integers(2, 5))
            picture[row : row + size, column : column + size] = 255 * rng.uniform(0.6, 1)
        distance = np.hypot(x - lamp[0], y - lamp[1])[..., None]
        radius, colour = self.radius * PIXELS, np.array(self.lamp)
        halo = 0.55 * np.exp(-((distance / (3 * radius)) ** 2))
        picture = picture * (1 - halo) + colour * halo
        disc = (radius - distance + 0.5).clip(0, 1)
        lit: Floats = picture * (1 - disc) + colour * disc
        return lit

    def landscape(self, picture: Floats, rng: np.random.Generator) -> Floats:
        """Hills in front of a sky."""
        x, y = grid()
        for height, shade in ((0.72, 1.7), (0.80, 1.0)):
            phase, waves = rng.uniform(0, 2 * np.pi), rng.uniform(1.2, 2.4)
            ridge = PIXELS * (height + 0.045 * np.sin(waves * 2 * np.pi * x / PIXELS + phase))
            hill = (y - ridge + 0.5).clip(0, 1)[..., None]
            picture = picture * (1 - hill) + np.array(self.ground) * shade * hill
        return picture

    def light(self, drawing: Floats, lamp: Floats) -> Floats:
        """A premultiplied drawing [side, side, 4] in this light, darker away from the lamp (x, y)."""
        side = len(drawing)
        y, x = np.mgrid[0:side, 0:side].astype(float)
        distance = np.hypot(x - lamp[0], y - lamp[1]) / PIXELS
        strength = (1.35 - 0.75 * distance).clip(0.45, 1.25)[..., None]
        lit = drawing.copy()
        lit[..., :3] = np.minimum(drawing[..., :3] * self.cast * strength, drawing[..., 3:])
        return lit


def grid() -> tuple[Floats, Floats]:
    """x and y of every pixel, [PIXELS, PIXELS] each."""
    y, x = np.mgrid[0:PIXELS, 0:PIXELS].astype(float)
    return x, y
