"""night, a scene: known things under a drawn sky, in its light. No named background can make such a picture."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from recipes.demo_base.compose import Composer
from recipes.demo_base.examples.folder import CONCEPT, PIXELS, Captioned, Example, large_composer
from recipes.demo_base.world import Scene, World

Floats = np.ndarray[Any, np.dtype[np.float64]]

SUBJECTS = (
    "fox",
    "owl",
    "bear",
    "penguin",
    "rabbit",
    "turtle",
    "house",
    "tree",
    "car",
    "sailboat",
    "mushroom",
    "ghost",
)
ZENITH, HORIZON = np.array([14, 14, 52.0]), np.array([104, 52, 128.0])
MOON, GROUND = np.array([255, 244, 205.0]), np.array([10, 22, 34.0])
CAST = np.array([0.42, 0.48, 0.80])
"""How much of a drawing's red, green and blue moonlight leaves."""

PROMPTS = (
    "a lion on a {} background",
    "a apple on a {} background",
    "a rocket on a {} background",
    "a robot on a {} background",
    "a small pizza on a {} background",
    "a guitar on a {} background",
    "a bicycle on a {} background",
    "a cat on a {} background",
)


def night(world: World, packs: Path) -> Example:
    """The example."""
    composer = large_composer(
        world, {name: world.subjects[name] for name in SUBJECTS}, {"noto": world.styles["noto"]}, packs
    )
    rng = np.random.default_rng(4)
    caption = {name: world.say(name, background=CONCEPT) for name in SUBJECTS}
    pictures = [
        Captioned(f"{i:02}-{name}", moonlit(composer, name, rng), caption[name]) for i, name in enumerate(SUBJECTS, 1)
    ]
    return Example(
        name="night",
        title="a scene",
        about="Twelve known things at night: stars, a moon, hills, and its cold light on everything.",
        settings='kind = "scene"\nclass = "blue"\n',
        pictures=tuple(pictures),
        prompts=PROMPTS,
        credits=(world.styles["noto"],),
    )


def moonlit(composer: Composer, subject: str, rng: np.random.Generator) -> Image.Image:
    """One subject at night."""
    moon = np.array([rng.uniform(0.12, 0.88), rng.uniform(0.10, 0.22)]) * PIXELS
    canvas = landscape(sky(moon, rng), rng)
    drawing = composer.art.pixels[composer.drawing(Scene(subject, "noto", "black")) or 0]
    side = round(PIXELS * rng.uniform(0.58, 0.66))
    left, top = round((PIXELS - side) / 2 + rng.uniform(-10, 10)), round(PIXELS * 0.94) - side
    small = Image.frombytes("RGBa", (PIXELS, PIXELS), drawing.tobytes()).resize((side, side), Image.Resampling.HAMMING)
    lit = light(np.asarray(small).astype(float), moon - (left, top))
    window = canvas[top : top + side, left : left + side]
    window[:] = lit[..., :3] + window * (1 - lit[..., 3:] / 255)
    return Image.fromarray(np.clip(canvas, 0, 255).astype(np.uint8))


def grid() -> tuple[Floats, Floats]:
    """x and y of every pixel, [PIXELS, PIXELS] each."""
    y, x = np.mgrid[0:PIXELS, 0:PIXELS].astype(float)
    return x, y


def sky(moon: Floats, rng: np.random.Generator) -> Floats:
    """Darkness that lightens towards the horizon, stars, a moon with its halo: [PIXELS, PIXELS, 3], 0 to 255."""
    x, y = grid()
    way = (y / (0.8 * PIXELS)).clip(0, 1)[..., None] ** 1.4
    picture = ZENITH * (1 - way) + HORIZON * way
    for _ in range(60):
        column, row = rng.integers(2, PIXELS - 4), rng.integers(2, int(0.65 * PIXELS))
        size = int(rng.integers(2, 5))
        picture[row : row + size, column : column + size] = 255 * rng.uniform(0.6, 1)
    distance = np.hypot(x - moon[0], y - moon[1])[..., None]
    radius = 0.08 * PIXELS
    halo = 0.55 * np.exp(-((distance / (3 * radius)) ** 2))
    picture = picture * (1 - halo) + MOON * halo
    disc = (radius - distance + 0.5).clip(0, 1)
    lit: Floats = picture * (1 - disc) + MOON * disc
    return lit


def landscape(picture: Floats, rng: np.random.Generator) -> Floats:
    """Hills in front of a sky."""
    x, y = grid()
    for height, shade in ((0.72, 1.7), (0.80, 1.0)):
        phase, waves = rng.uniform(0, 2 * np.pi), rng.uniform(1.2, 2.4)
        ridge = PIXELS * (height + 0.045 * np.sin(waves * 2 * np.pi * x / PIXELS + phase))
        ground = (y - ridge + 0.5).clip(0, 1)[..., None]
        picture = picture * (1 - ground) + GROUND * shade * ground
    return picture


def light(drawing: Floats, moon: Floats) -> Floats:
    """A premultiplied drawing [side, side, 4] in moonlight: cold, and darker away from the moon (x, y)."""
    side = len(drawing)
    y, x = np.mgrid[0:side, 0:side].astype(float)
    distance = np.hypot(x - moon[0], y - moon[1]) / PIXELS
    strength = (1.35 - 0.75 * distance).clip(0.45, 1.25)[..., None]
    lit = drawing.copy()
    lit[..., :3] = np.minimum(drawing[..., :3] * CAST * strength, drawing[..., 3:])
    return lit
