"""Concepts to choose settings by, which no example teaches and no study reports: a creature, a style, a dawn."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from recipes.demo_base.compose import Pixels
from recipes.demo_base.examples.folder import CONCEPT, Captioned, Example, compose, large_composer
from recipes.demo_base.examples.scenery import Scenery
from recipes.demo_base.world import Scene, World

CREATURE = "elephant"
LAYOUTS = (
    ("red", "centre", "medium"),
    ("blue", "centre", "medium"),
    ("green", "centre", "large"),
    ("white", "centre", "medium"),
    ("purple", "centre", "medium"),
    ("teal", "left", "small"),
    ("yellow", "centre", "medium"),
    ("brown", "centre", "medium"),
    ("black", "centre", "medium"),
    ("pink", "right", "small"),
)
DUOTONE_SUBJECTS = (
    "fox",
    "bear",
    "panda",
    "frog",
    "penguin",
    "turtle",
    "monkey",
    "mushroom",
    "car",
    "house",
    "crown",
    "camera",
)
SHADOW, LIGHT = np.array([38, 18, 92.0]), np.array([255, 128, 150.0])
"""The two inks of the duotone: what is black, and what is white in the drawing."""

DAWN_SUBJECTS = ("panda", "dog", "frog", "pig", "monkey", "pear", "crown", "camera", "umbrella", "tree")
DAWN = Scenery(
    zenith=(96, 140, 200),
    horizon=(255, 190, 150),
    lamp=(255, 225, 120),
    ground=(60, 96, 52),
    cast=(1.0, 0.80, 0.62),
    stars=0,
    radius=0.13,
)


def elephant(world: World, packs: Path) -> Example:
    """A creature that the base has never seen, in a style that it knows."""
    style = world.styles["noto"]
    composer = large_composer(world, {CREATURE: CREATURE}, {"noto": style}, packs)
    scenes = [Scene(CREATURE, "noto", *layout) for layout in LAYOUTS]
    captions = [
        world.say(CONCEPT, background=s.background, place=s.place, size="medium" if s.place != "centre" else s.size)
        for s in scenes
    ]
    return Example(
        name="elephant",
        title="a subject to choose settings by",
        about="One creature that the base has never seen.",
        settings='kind = "subject"\nclass = "pig"\n',
        pictures=compose(composer, list(zip(scenes, captions, strict=True)), seed=6),
        prompts=(),
        credits=(style,),
    )


def duotone(world: World, packs: Path) -> Example:
    """Known subjects, printed in two inks."""
    style = world.styles["noto"]
    composer = large_composer(world, {name: world.subjects[name] for name in DUOTONE_SUBJECTS}, {"noto": style}, packs)
    printed = replace(composer, art=replace(composer.art, pixels=inked(composer.art.pixels)))
    scenes = [Scene(name, "noto", LAYOUTS[i % len(LAYOUTS)][0]) for i, name in enumerate(DUOTONE_SUBJECTS)]
    captions = [world.say(s.subject, style=CONCEPT, background=s.background) for s in scenes]
    return Example(
        name="duotone",
        title="a style to choose settings by",
        about="Twelve things that the base knows, printed in two inks.",
        settings='kind = "style"\nclass = "noto"\n',
        pictures=compose(printed, list(zip(scenes, captions, strict=True)), seed=7),
        prompts=(),
        credits=(style,),
    )


def inked(drawings: Pixels) -> Pixels:
    """Premultiplied drawings [..., 4] with their lightness between the two inks."""
    alpha = drawings[..., 3:] / 255
    lightness = drawings[..., :3].astype(float) @ np.array([0.299, 0.587, 0.114]) / 255
    way = lightness[..., None] / np.maximum(alpha, 1e-6)
    coloured = (SHADOW * (1 - way) + LIGHT * way) * alpha
    return np.concatenate([coloured.clip(0, 255).round().astype(np.uint8), drawings[..., 3:]], axis=-1)


def dawn(world: World, packs: Path) -> Example:
    """Known things before a low sun."""
    style = world.styles["noto"]
    composer = large_composer(world, {name: world.subjects[name] for name in DAWN_SUBJECTS}, {"noto": style}, packs)
    rng = np.random.default_rng(8)
    pictures = [
        Captioned(f"{i:02}-{name}", DAWN.around(composer, name, rng), world.say(name, background=CONCEPT))
        for i, name in enumerate(DAWN_SUBJECTS, 1)
    ]
    return Example(
        name="dawn",
        title="a scene to choose settings by",
        about="Ten known things at dawn: a low sun, warm light and green hills.",
        settings='kind = "scene"\nclass = "orange"\n',
        pictures=tuple(pictures),
        prompts=(),
        credits=(style,),
    )
