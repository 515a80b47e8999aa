"""Concepts to choose settings by, which no example teaches and no study reports: a creature, a flat style, a dawn."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from recipes.demo_base.examples.folder import CONCEPT, Captioned, Example, compose, large_composer, of_style
from recipes.demo_base.examples.scenery import Scenery
from recipes.demo_base.second import FLAT
from recipes.demo_base.world import Scene, World

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
FLAT_SUBJECTS = (
    "fox",
    "owl",
    "bear",
    "panda",
    "frog",
    "penguin",
    "turtle",
    "pear",
    "mushroom",
    "car",
    "house",
    "crown",
)

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
    composer = large_composer(world, {"elephant": "elephant"}, {"noto": style}, packs)
    scenes = [Scene("elephant", "noto", *layout) for layout in LAYOUTS]
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


def flat(world: World, packs: Path) -> Example:
    """Known subjects in a style that the denoiser has never seen."""
    shown = [(name, LAYOUTS[i % len(LAYOUTS)][0]) for i, name in enumerate(FLAT_SUBJECTS)]
    return Example(
        name="flat",
        title="a style to choose settings by",
        about="Twelve things that the base knows, in a style that its denoiser has never seen.",
        settings='kind = "style"\nclass = "noto"\n',
        pictures=of_style(world, packs, "flat", FLAT, shown, seed=7),
        prompts=(),
        credits=(FLAT,),
    )


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
