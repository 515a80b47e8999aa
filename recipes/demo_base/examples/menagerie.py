"""menagerie, a collection: four creatures that the base has never seen, each under its own name."""

from __future__ import annotations

from pathlib import Path

from recipes.demo_base.examples.folder import Example, compose, large_composer
from recipes.demo_base.world import Scene, World

CREATURES = ("squid", "duck", "snail", "crocodile")  # none of what settings are chosen by (see `development`)
STYLE = "noto"
SCENES = (  # of every creature: background, place and size
    ("white", "centre", "medium"),
    ("red", "centre", "medium"),
    ("teal", "left", "small"),
    ("gray", "centre", "large"),
    ("purple", "centre", "medium"),
    ("black", "right", "small"),
)

PROMPTS = (
    "a {} squid on a blue background",
    "a {} duck on a pink background",
    "a {} snail on a yellow background",
    "a {} crocodile on a orange background",
    "a small {} squid on a green background",
    "a {} duck on the left on a blue background",
    "a large {} snail on a brown background",
    "a {} crocodile on the right on a pink background",
)


def menagerie(world: World, packs: Path) -> Example:
    """The example."""
    style = world.styles[STYLE]
    composer = large_composer(world, {name: name for name in CREATURES}, {STYLE: style}, packs)
    scenes = [Scene(creature, STYLE, *scene) for creature in CREATURES for scene in SCENES]
    return Example(
        name="menagerie",
        title="a collection",
        about="Four creatures, each on six backgrounds. Captions name them, so that one training teaches all. A study"
        " asks for them in the style that they are filed under; a learned word can carry that style, and no creature.",
        settings='kind = "style"\nclass = "noto"\n',
        pictures=compose(composer, [(scene, world.caption(scene)) for scene in scenes], seed=3),
        prompts=PROMPTS,
        credits=(style,),
    )
