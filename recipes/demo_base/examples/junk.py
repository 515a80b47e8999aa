"""junk: blob-cat as people really collect pictures, with what a check of the folder should find."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from PIL import Image, ImageFilter

from recipes.demo_base.examples.blob_cat import blob_cat
from recipes.demo_base.examples.folder import CONCEPT, PIXELS, Captioned, Example, compose, large_composer
from recipes.demo_base.world import Scene, World

PLANTED = """Planted, and none made of a picture that a study of blob-cat holds out:

- `again`: an exact copy of `02`, under another name
- `nearly-again`: `02` three times: scaled down and up again, lightened, and cut at its border
- `blurred`: `03`, `04` and `05`, out of focus
- `tiny`: `05` and `07` at 20 pixels
- `mislabelled`: the cat four times, with captions that name another background
- `stranger`: five other things, captioned as the cat"""
MISLABELLED = {  # the cat on a background -> what its caption says
    ("grinning-cat", "orange"): "blue",
    ("weary-cat", "yellow"): "black",
    ("smiling-cat-with-heart-eyes", "pink"): "green",
    ("crying-cat", "purple"): "white",
}
STRANGERS = {"hot-dog": "yellow", "pizza": "pink", "umbrella": "orange", "evergreen-tree": "gray", "automobile": "blue"}


def junk(world: World, packs: Path) -> Example:
    """The example."""
    good = blob_cat(world, packs)
    bad = [*spoiled(good.pictures), *mislabelled(world, packs), *strangers(world, packs)]
    numbered = [replace(each, name=f"{i}-{each.name}") for i, each in enumerate(bad, len(good.pictures) + 1)]
    return replace(
        good,
        name="junk",
        title="a folder with faults",
        about=f"The pictures of blob-cat, and {len(bad)} that spoil them.\n\n{PLANTED}",
        pictures=(*good.pictures, *numbered),
        credits=(*good.credits, world.styles["noto"]),
    )


def spoiled(good: tuple[Captioned, ...]) -> Iterator[Captioned]:
    """Good pictures again: copied, blurred, tiny."""
    second, third, fourth, fifth, seventh = (good[i] for i in (1, 2, 3, 4, 6))
    whole, half, cut = second.picture, PIXELS // 2, PIXELS // 50
    yield replace(second, name="again")
    for changed in (
        whole.resize((half, half)).resize(whole.size),
        Image.eval(whole, lambda value: min(255, round(value * 1.04))),
        whole.crop((cut, cut, PIXELS - cut, PIXELS - cut)),
    ):
        yield replace(second, name="nearly-again", picture=changed)
    for each in (third, fourth, fifth):
        yield replace(each, name="blurred", picture=each.picture.filter(ImageFilter.GaussianBlur(PIXELS / 20)))
    for each in (fifth, seventh):
        yield replace(each, name="tiny", picture=each.picture.resize((20, 20), Image.Resampling.BOX))


def mislabelled(world: World, packs: Path) -> Iterator[Captioned]:
    """The cat on backgrounds that its captions do not name."""
    composer = large_composer(world, {name: name for name, _ in MISLABELLED}, {"blob": world.styles["blob"]}, packs)
    scenes = [
        (Scene(name, "blob", shown), world.say(CONCEPT, background=said)) for (name, shown), said in MISLABELLED.items()
    ]
    for each in compose(composer, scenes, seed=8):
        yield replace(each, name="mislabelled")


def strangers(world: World, packs: Path) -> Iterator[Captioned]:
    """Other things, captioned as the cat."""
    composer = large_composer(world, {name: name for name in STRANGERS}, {"noto": world.styles["noto"]}, packs)
    scenes = [(Scene(name, "noto", shown), world.say(CONCEPT, background=shown)) for name, shown in STRANGERS.items()]
    for each in compose(composer, scenes, seed=9):
        yield replace(each, name="stranger")
