"""blob-cat, a subject: one character in nine moods."""

from __future__ import annotations

from pathlib import Path

from recipes.demo_base.examples.folder import CONCEPT, Captioned, Example, compose, large_composer
from recipes.demo_base.world import Scene, World

SCENES = {
    "grinning-cat": ("red", "centre", "medium"),
    "grinning-cat-with-smiling-eyes": ("blue", "centre", "medium"),
    "cat-with-tears-of-joy": ("green", "centre", "large"),
    "smiling-cat-with-heart-eyes": ("white", "centre", "medium"),
    "cat-with-wry-smile": ("purple", "centre", "medium"),
    "kissing-cat": ("teal", "left", "small"),
    "weary-cat": ("gray", "centre", "medium"),
    "crying-cat": ("brown", "centre", "medium"),
    "pouting-cat": ("black", "centre", "medium"),
}
AGAIN = {
    "cat-with-wry-smile": ("pink", "right", "small"),
    "grinning-cat": ("teal", "centre", "medium"),
    "crying-cat": ("white", "centre", "medium"),
}


def pictures(world: World, packs: Path) -> tuple[Captioned, ...]:
    """Every mood once, three of them twice."""
    shown = [*SCENES.items(), *AGAIN.items()]
    composer = large_composer(world, {name: name for name, _ in shown}, {"blob": world.styles["blob"]}, packs)
    scenes = [Scene(name, "blob", background, place, size) for name, (background, place, size) in shown]
    return compose(composer, [(scene, caption(world, scene)) for scene in scenes], seed=1)


def caption(world: World, scene: Scene) -> str:
    """What the scene shows, the concept unnamed."""
    size = "medium" if scene.place != "centre" else scene.size
    return world.say(CONCEPT, background=scene.background, place=scene.place, size=size)


def blob_cat(world: World, packs: Path) -> Example:
    """The example."""
    return Example(
        name="blob-cat",
        title="a subject",
        about="One character, the cat of an early emoji font, in nine moods. The base knows cats, but not this one.",
        settings='kind = "subject"\nclass = "cat"\n',
        pictures=pictures(world, packs),
        prompts=(),
        credits=(world.styles["blob"],),
    )
