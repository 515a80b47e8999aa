"""Evaluates the image encoder for drawings, with ablations of its channels.

    python -m recipes.demo_base.likeness --packs PACKS

For each subset of channels it computes new discriminants (`recipes.demo_base.brush`) and tests them on other drawings:
whether a drawing is recognised after the demo base has reconstructed it, whether it is distinguished from itself in
another hue, and whether two moods of one character are more alike than one animal by two artists. The package's encoder
was chosen by these figures.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable, Mapping
from itertools import permutations
from math import prod
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from recipes.demo_base.art import Drawing, every_package, open_package
from recipes.demo_base.brush import DRAWINGS, Redrawing, discriminants, look_at_views, rendered, strangers_to_the_world
from recipes.demo_base.compose import Pixels
from recipes.demo_base.judge.exam import open_base
from recipes.demo_base.world import WORLD_FILE, World
from triptych.metrics.colour import KNOTS
from triptych.metrics.encoders.efficientnet import EfficientNetLite0

NEW, TURNED = 120, 64
"""Drawings to recognise, and how many of them are shown in other hues."""
HUE = 25
"""Degrees, to either side: from the demo base's yellow cats to the orange blob cats."""
COLOURS, CELLS = prod(KNOTS), 3 * EfficientNetLite0.CELLS**2  # numbers of channels, at the end of all channels
SEEN: dict[str, Callable[[Tensor], Tensor]] = {  # subsets of all channels, [..., channels]
    "the network's channels": lambda all_: all_[..., : -COLOURS - CELLS],
    "these and the picture at 8 x 8": lambda all_: torch.cat([all_[..., : -COLOURS - CELLS], all_[..., -CELLS:]], -1),
    "these and the colours": lambda all_: all_[..., :-CELLS],
    "all three": lambda all_: all_,
}
MONKEYS = ("hear-no-evil-monkey", "see-no-evil-monkey", "speak-no-evil-monkey")
NOT_LOOKED_AT = "@iconify-json/noto-v1"  # its cats are what an example teaches


def in_another_hue(picture: Image.Image, degrees: float) -> Image.Image:
    """An RGB picture with every hue turned."""
    hue, *rest = picture.convert("HSV").split()
    by = round(degrees / 360 * 256)
    return Image.merge("HSV", (hue.point(lambda value: (value + by) % 256), *rest)).convert("RGB")


def turned(pixels: Pixels, degrees: float) -> Pixels:
    """A drawing with premultiplied alpha, [height, width, 4], in another hue."""
    alpha = pixels[..., 3:] / 255
    colours = np.divide(pixels[..., :3], alpha, out=np.zeros(pixels[..., :3].shape), where=alpha > 0)
    picture = in_another_hue(Image.fromarray(colours.clip(0, 255).round().astype(np.uint8)), degrees)
    return np.concatenate([(np.asarray(picture) * alpha).round().astype(np.uint8), pixels[..., 3:]], axis=-1)


def moods(world: World, packs: Path) -> dict[tuple[str, str], list[Drawing]]:
    """The moods of a character, by animal and package."""
    cats = tuple(sorted(name for name in world.unseen_drawings if "cat" in name.split("-") and name != "cat"))
    found = {}
    for package, version in every_package(world).items():
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
    """The probability that two moods of a character are more alike than moods of one animal by two artists."""
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


def look(views: Tensor, encoder: Mapping[str, Tensor]) -> Tensor:
    """Project channels to features, rows of length 1."""
    return F.normalize((views - encoder["mean"]) @ encoder["directions"].float(), dim=-1)


def table(found_by: Tensor, new: Tensor, hues: list[Tensor], characters: Mapping[tuple[str, str], Tensor]) -> str:
    """A Markdown table with a row for each subset of channels."""
    lines = ["| what it sees | recognised, redrawn | held for itself, in one of three hues | moods of one character |"]
    lines += ["| --- | --- | --- | --- |"]
    for name, part in SEEN.items():
        encoder = discriminants(part(found_by))
        seen = [look(part(views), encoder) for views in (new, *hues)]
        moods_seen = {who: look(part(views), encoder) for who, views in characters.items()}
        shares = recognised(seen[0]), held_for_itself(seen[1:]), one_character(moods_seen)
        lines.append(f"| {name} | {' | '.join(f'{share:.1%}' for share in shares)} |")
    return "\n".join(lines)


def main() -> None:
    """Evaluate, and print the table."""
    parser = argparse.ArgumentParser(prog="python -m recipes.demo_base.likeness", description=__doc__)
    parser.add_argument("--base", type=Path, default=WORLD_FILE.parent, help="folder of the base that redraws")
    parser.add_argument("--packs", type=Path, help="folder of icon package archives (default: a temporary one)")
    given = parser.parse_args()
    world, encoder, redraw = World.open(), EfficientNetLite0(), Redrawing(open_base(given.base, "cpu"))
    with tempfile.TemporaryDirectory() as temporary:
        packs = given.packs or Path(temporary)
        drawings = strangers_to_the_world(world, packs)
        known, new = drawings[:DRAWINGS], drawings[DRAWINGS : DRAWINGS + NEW]
        characters = {
            who: look_at_views(rendered(each), world, redraw, encoder) for who, each in moods(world, packs).items()
        }
    art = rendered(new)
    views = look_at_views(art, world, redraw, encoder)
    others = ([turned(one, hue) for one in art[:TURNED]] for hue in (HUE, -HUE))
    hues = [views[:TURNED], *(look_at_views(other, world, redraw, encoder) for other in others)]
    print(table(look_at_views(rendered(known), world, redraw, encoder), views, hues, characters))


if __name__ == "__main__":
    main()
