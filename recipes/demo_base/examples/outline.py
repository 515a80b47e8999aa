"""outline, a style: known subjects in black lines and areas, as the base has never seen any drawn."""

from __future__ import annotations

from pathlib import Path

from recipes.demo_base.examples.folder import Example, of_style
from recipes.demo_base.world import Style, World

STYLE = Style("@iconify-json/fluent-emoji-high-contrast", "1.2.6", "MIT", "Microsoft Corporation")

SUBJECTS = (
    *("fox", "owl", "bear", "panda", "pig", "frog", "monkey", "penguin", "turtle", "butterfly"),
    *("pear", "cherries", "strawberry", "hamburger", "mushroom", "airplane", "car", "house", "crown", "camera"),
)
BACKGROUNDS = ("white", "yellow", "pink", "orange", "teal", "green", "gray", "white", "red", "pink")


def outline(world: World, packs: Path) -> Example:
    """The example."""
    shown = [(name, BACKGROUNDS[i % len(BACKGROUNDS)]) for i, name in enumerate(SUBJECTS)]
    return Example(
        name="outline",
        title="a style",
        about="Twenty things that the base knows, in a style that it does not: one black, lines and areas.",
        settings='kind = "style"\nclass = "noto"\n',
        pictures=of_style(world, packs, "outline", STYLE, shown, seed=2),
        prompts=(),
        credits=(STYLE,),
    )
