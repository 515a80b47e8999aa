"""junk: blob-cat as people really collect pictures, with what a check of the folder should find."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from PIL import Image, ImageFilter

from recipes.demo_base.examples.blob_cat import blob_cat
from recipes.demo_base.examples.folder import CONCEPT, PIXELS, Captioned, Example, compose, large_composer
from recipes.demo_base.world import Scene, World

PLANTED = """What is planted:

- `13-again`: an exact copy of `01`, under another name
- `14-nearly-again`: `02`, scaled down and up again
- `15-blurred`: `03`, out of focus
- `16-tiny`: `05` at 24 pixels
- `17-mislabelled`: `09` with a caption that names another background and place
- `18-stranger`: a hot dog, captioned as the cat"""


def junk(world: World, packs: Path) -> Example:
    """The example."""
    good = blob_cat(world, packs)
    return replace(
        good,
        name="junk",
        title="a folder with faults",
        about=f"The pictures of blob-cat, and six that spoil them.\n\n{PLANTED}",
        pictures=(*good.pictures, *planted(good, world, packs)),
    )


def planted(good: Example, world: World, packs: Path) -> list[Captioned]:
    """The six bad pictures."""
    half = PIXELS // 2
    first, second, third, fifth, ninth = (good.pictures[i] for i in (0, 1, 2, 4, 8))
    nearly = second.picture.resize((half, half)).resize((PIXELS, PIXELS))
    composer = large_composer(world, {"hot dog": "hot-dog"}, {"noto": world.styles["noto"]}, packs)
    caption = world.say(CONCEPT, background="yellow")
    stranger = compose(composer, [(Scene("hot dog", "noto", "yellow"), caption)], seed=9)[0]
    return [
        replace(first, name="13-again"),
        replace(second, name="14-nearly-again", picture=nearly),
        replace(third, name="15-blurred", picture=third.picture.filter(ImageFilter.GaussianBlur(PIXELS / 20))),
        replace(fifth, name="16-tiny", picture=fifth.picture.resize((24, 24), Image.Resampling.BOX)),
        replace(ninth, name="17-mislabelled", caption=world.say(CONCEPT, background="pink", place="left")),
        replace(stranger, name="18-stranger"),
    ]
