"""night, a scene: known things under a drawn sky, in its light. No named background can make such a picture."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from recipes.demo_base.examples.folder import CONCEPT, Captioned, Example, large_composer
from recipes.demo_base.examples.scenery import Scenery
from recipes.demo_base.world import World

SUBJECTS = (
    "fox",
    "owl",
    "bear",
    "penguin",
    "rabbit",
    "turtle",
    "house",
    "tree",
    "car",
    "sailboat",
    "mushroom",
    "ghost",
)
NIGHT = Scenery(
    zenith=(14, 14, 52),
    horizon=(104, 52, 128),
    lamp=(255, 244, 205),
    ground=(10, 22, 34),
    cast=(0.42, 0.48, 0.80),
    stars=60,
    radius=0.08,
)


def night(world: World, packs: Path) -> Example:
    """The example."""
    composer = large_composer(
        world, {name: world.subjects[name] for name in SUBJECTS}, {"noto": world.styles["noto"]}, packs
    )
    rng = np.random.default_rng(4)
    caption = {name: world.say(name, background=CONCEPT) for name in SUBJECTS}
    pictures = [
        Captioned(f"{i:02}-{name}", NIGHT.around(composer, name, rng), caption[name])
        for i, name in enumerate(SUBJECTS, 1)
    ]
    return Example(
        name="night",
        title="a scene",
        about="Twelve known things at night: stars, a moon, hills, and its cold light on everything.",
        settings='kind = "scene"\nclass = "blue"\n',
        pictures=tuple(pictures),
        prompts=(),
        credits=(world.styles["noto"],),
    )
