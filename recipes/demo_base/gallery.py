"""The gallery: one real composition of every known subject, by which nearest neighbours tell what a picture shows."""

from __future__ import annotations

import numpy as np
from PIL import Image

from recipes.demo_base.compose import Composer, Pixels
from recipes.demo_base.world import Scene


def gallery(composer: Composer) -> Image.Image:
    """The sheet: a column per subject, a row per style, both as in `world.toml`; plain where there is no drawing."""
    rng = np.random.default_rng(0)
    world = composer.world
    rows = [[tile(composer, subject, style, rng) for subject in world.subjects] for style in world.gallery_styles]
    return Image.fromarray(np.concatenate([np.concatenate(row, axis=1) for row in rows]))


def tile(composer: Composer, subject: str, style: str, rng: np.random.Generator) -> Pixels:
    """One cell of the sheet."""
    scene = Scene(subject, style, composer.world.gallery_background)
    return composer.canvas(scene.background) if composer.drawing(scene) is None else composer.picture(scene, rng)
