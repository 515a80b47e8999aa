"""What the eye for drawings tells apart, and which part of what it sees does it.

    python -m recipes.demo_base.eyes --packs PACKS

finds the eye anew (`recipes.demo_base.brush`) from some of what there is to see, and tries it on drawings that it was
not found by: whether a drawing is recognised after the demo base has redrawn it, whether it is held for itself in
another hue, and whether two moods of one character are more alike than one animal by two hands. The eye of the package
was chosen by these figures. Some twenty minutes.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Mapping
from itertools import permutations
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from recipes.demo_base.art import MORE_ART, PIXELS, Drawing, open_package, render
from recipes.demo_base.brush import DRAWINGS, Redrawing, discriminants, look_at_views, strangers_to_the_world
from recipes.demo_base.compose import Pixels
from recipes.demo_base.judge.exam import open_base
from recipes.demo_base.world import WORLD_FILE, World
from triptych.metrics.encoders import EfficientNetLite0

NEW, TURNED = 120, 64
"""Drawings to recognise, and how many of them are shown in other hues."""
HUE = 25
"""Degrees, to either side: from the demo base's yellow cats to the orange blob cats."""
NETWORK, COLOURS, ITSELF = range(1744), range(1744, 2470), range(2470, 2662)
SEEN = {
    "the network's channels": [*NETWORK],
    "these and the picture at 8 x 8": [*NETWORK, *ITSELF],
    "these and the colours": [*NETWORK, *COLOURS],
    "all three": [*NETWORK, *COLOURS, *ITSELF],
}
MONKEYS = ("hear-no-evil-monkey", "see-no-evil-monkey", "speak-no-evil-monkey")
NOT_LOOKED_AT = "@iconify-json/noto-v1"  # its cats are what an example teaches


def draw(drawings: list[Drawing], hue: float = 0) -> list[Pixels]:
    """Rendered, with premultiplied alpha; `hue` turns every colour by so many degrees."""
    return [turn(np.asarray(render(drawing.svg, PIXELS)), hue) for drawing in drawings]


def turn(pixels: Pixels, hue: float) -> Pixels:
    """A premultiplied picture [height, width, 4] in another hue."""
    if not hue:
        return pixels
    alpha = pixels[..., 3:] / 255
    colours = np.divide(pixels[..., :3], alpha, out=np.zeros(pixels[..., :3].shape), where=alpha > 0)
    hsv = np.asarray(Image.fromarray(colours.clip(0, 255).round().astype(np.uint8)).convert("HSV")).copy()
    hsv[..., 0] = (hsv[..., 0].astype(int) + round(hue / 360 * 256)) % 256
    turned = np.asarray(Image.fromarray(hsv, "HSV").convert("RGB")) * alpha
    return np.concatenate([turned.round().astype(np.uint8), pixels[..., 3:]], axis=-1)


def moods(world: World, packs: Path) -> dict[tuple[str, str], list[Drawing]]:
    """The moods of a character, by animal and package."""
    packages = {style.package: style.version for style in world.styles.values()} | MORE_ART
    cats = tuple(sorted(name for name in world.unseen_drawings if "cat" in name.split("-") and name != "cat"))
    found = {}
    for package, version in packages.items():
        icons = open_package(package, version, packs)
        for animal, names in (("cat", cats), ("monkey", MONKEYS)):
            drawings = [Drawing(package, name, svg) for name in names if (svg := icons.svg(name))]
            if len(drawings) > 1 and package != NOT_LOOKED_AT:
                found[animal, package] = drawings
    return found


def recognised(features: Tensor) -> float:
    """The share of views whose nearest first view is that of their own drawing; [drawings, views, d]."""
    likeness = torch.einsum("avd,bd->avb", features[:, 1:], features[:, 0])
    return float((likeness.argmax(dim=-1) == torch.arange(len(features))[:, None]).float().mean())


def held_for_itself(hues: list[Tensor]) -> float:
    """The share of views that are nearer to their own drawing than to it in any other hue."""
    firsts = torch.stack([each[:, 0] for each in hues])
    right = [torch.einsum("avd,had->avh", each[:, 1:], firsts).argmax(dim=-1) == own for own, each in enumerate(hues)]
    return float(torch.stack(right).float().mean())


def one_character(characters: Mapping[tuple[str, str], Tensor]) -> float:
    """The chance that two moods of a character are more alike than moods of one animal by two hands."""
    same, other = [], []
    for each in characters.values():
        likeness = torch.einsum("avd,bd->avb", each, each[:, 0])
        same.append(likeness[~torch.eye(len(each), dtype=torch.bool)[:, None].expand_as(likeness)])
    for (animal, a), (second, b) in permutations(characters, 2):
        if animal == second:
            likeness = torch.einsum("avd,bd->avb", characters[animal, a], characters[second, b][:, 0])
            other.append(likeness.flatten())
    ordered = torch.cat(other).sort().values
    places = torch.searchsorted(ordered, torch.cat(same), right=False).double()
    return float(places.mean() / len(ordered))


def table(found_by: Tensor, new: Tensor, hues: list[Tensor], characters: Mapping[tuple[str, str], Tensor]) -> str:
    """Markdown: a row for each part of what there is to see."""
    lines = ["| what it sees | recognised, redrawn | held for itself, in one of three hues | moods of one character |"]
    lines += ["| --- | --- | --- | --- |"]
    for name, part in SEEN.items():
        eye = discriminants(found_by[..., part])

        def look(views: Tensor, part: list[int] = part, eye: dict[str, Tensor] = eye) -> Tensor:
            return F.normalize((views[..., part] - eye["mean"]) @ eye["directions"].float(), dim=-1)

        turned = held_for_itself([look(views) for views in hues])
        character = one_character({who: look(views) for who, views in characters.items()})
        lines.append(f"| {name} | {recognised(look(new)):.1%} | {turned:.1%} | {character:.1%} |")
    return "\n".join(lines)


def main() -> None:
    """Look, and print the table."""
    parser = argparse.ArgumentParser(prog="python -m recipes.demo_base.eyes", description=__doc__)
    parser.add_argument("--base", type=Path, default=WORLD_FILE.parent, help="folder of the base that redraws")
    parser.add_argument("--packs", type=Path, help="folder of icon package archives (default: a temporary one)")
    given = parser.parse_args()
    world, eye, redraw = World.open(), EfficientNetLite0(), Redrawing(open_base(given.base, "cpu"))
    with tempfile.TemporaryDirectory() as temporary:
        packs = given.packs or Path(temporary)
        drawings = strangers_to_the_world(world, packs)
        known, new = drawings[:DRAWINGS], drawings[DRAWINGS : DRAWINGS + NEW]
        characters = {who: look_at_views(draw(each), world, redraw, eye) for who, each in moods(world, packs).items()}
    views = look_at_views(draw(new), world, redraw, eye)
    hues = [views[:TURNED], *(look_at_views(draw(new[:TURNED], hue), world, redraw, eye) for hue in (HUE, -HUE))]
    print(table(look_at_views(draw(known), world, redraw, eye), views, hues, characters))


if __name__ == "__main__":
    main()
