"""Concepts to choose settings by, which no example teaches and no study reports: a creature, and a flat style."""

from __future__ import annotations

from pathlib import Path

from recipes.demo_base.examples.folder import CONCEPT, Example, compose, large_composer, of_style
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
