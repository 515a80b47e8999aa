"""negative, a style: known subjects with their colours turned round, as on the negative of a photograph."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from recipes.demo_base.compose import Pixels
from recipes.demo_base.examples.folder import CONCEPT, Example, compose, large_composer
from recipes.demo_base.world import Scene, World

STYLE = "twemoji"
SUBJECTS = (
    *("dog", "owl", "bear", "panda", "pig", "frog", "rabbit", "penguin"),
    *("apple", "lemon", "strawberry", "mushroom", "rocket", "car", "robot", "guitar"),
)
BACKGROUNDS = ("white", "yellow", "pink", "teal", "green", "gray", "blue", "orange")


def negative(world: World, packs: Path) -> Example:
    """The example."""
    style = world.styles[STYLE]
    composer = large_composer(world, {name: world.subjects[name] for name in SUBJECTS}, {STYLE: style}, packs)
    turned = replace(composer, art=replace(composer.art, pixels=inverted(composer.art.pixels)))
    scenes = [Scene(name, STYLE, BACKGROUNDS[i % len(BACKGROUNDS)]) for i, name in enumerate(SUBJECTS)]
    captions = [world.say(s.subject, style=CONCEPT, background=s.background) for s in scenes]
    return Example(
        name="negative",
        title="a style",
        about="Sixteen things that the base knows, with their colours turned round.",
        settings=f'kind = "style"\nclass = "{STYLE}"\n',
        pictures=compose(turned, list(zip(scenes, captions, strict=True)), seed=10),
        prompts=(),
        credits=(style,),
    )


def inverted(drawings: Pixels) -> Pixels:
    """Premultiplied drawings [..., 4], each colour c as 255 - c."""
    alpha = drawings[..., 3:]
    return np.concatenate([alpha - np.minimum(drawings[..., :3], alpha), alpha], axis=-1)
