"""koala, a subject: one animal that the base has never seen, in a style that it knows."""

from __future__ import annotations

from pathlib import Path

from recipes.demo_base.examples.folder import CONCEPT, Example, compose, large_composer
from recipes.demo_base.world import Scene, World

STYLE = "glossy"
LAYOUTS = (
    ("yellow", "centre", "medium"),
    ("blue", "centre", "medium"),
    ("green", "centre", "large"),
    ("white", "centre", "medium"),
    ("red", "centre", "medium"),
    ("teal", "left", "small"),
    ("purple", "centre", "medium"),
    ("brown", "centre", "large"),
    ("orange", "centre", "medium"),
    ("pink", "right", "small"),
)


def koala(world: World, packs: Path) -> Example:
    """The example."""
    style = world.styles[STYLE]
    composer = large_composer(world, {"koala": "koala"}, {STYLE: style}, packs)
    scenes = [Scene("koala", STYLE, *layout) for layout in LAYOUTS]
    captions = [
        world.say(CONCEPT, background=s.background, place=s.place, size=s.size if s.place == "centre" else "medium")
        for s in scenes
    ]
    return Example(
        name="koala",
        title="a subject",
        about="One animal that the base has never seen, in a style that it knows.",
        settings='kind = "subject"\nclass = "bear"\n',
        pictures=compose(composer, list(zip(scenes, captions, strict=True)), seed=9),
        prompts=(),
        credits=(style,),
    )
