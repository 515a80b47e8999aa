"""menagerie, a collection: six creatures that the base has never seen, each under its own name."""

from __future__ import annotations

from pathlib import Path

from recipes.demo_base.examples.folder import Example, compose, large_composer
from recipes.demo_base.world import Scene, World

CREATURES = {
    "elephant": "elephant",
    "duck": "duck",
    "snail": "snail",
    "crocodile": "crocodile",
    "rooster": "rooster",
    "dragon": "dragon-face",
}
BACKGROUNDS = ("white", "red", "teal", "yellow", "gray", "purple", "green")
STYLES = ("noto", "twemoji", "blob", "glossy")

PROMPTS = (
    "a {} elephant on a blue background",
    "a {} duck on a yellow background",
    "a {} snail on a pink background",
    "a {} crocodile on a orange background",
    "a {} rooster on a white background",
    "a {} dragon on a black background",
    "a small {} elephant on a green background",
    "a {} duck on the left on a purple background",
)


def menagerie(world: World, packs: Path) -> Example:
    """The example."""
    styles = {name: world.styles[name] for name in STYLES}
    composer = large_composer(world, CREATURES, styles, packs)
    scenes = [
        Scene(creature, style, BACKGROUNDS[(len(STYLES) * i + j) % len(BACKGROUNDS)])
        for i, creature in enumerate(CREATURES)
        for j, style in enumerate(STYLES)
    ]
    captions = [world.caption(scene) for scene in scenes]
    return Example(
        name="menagerie",
        title="a collection",
        about="Six creatures in four known styles. Captions name them, so that one training teaches all. A study asks"
        " for them in the style that they are filed under; a learned word can carry that style, and no creature.",
        settings='kind = "style"\nclass = "noto"\n',
        pictures=compose(composer, list(zip(scenes, captions, strict=True)), seed=3),
        prompts=PROMPTS,
        credits=tuple(styles.values()),
    )
