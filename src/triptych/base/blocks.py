"""The blocks of a denoiser by the names that block weights have: BASE, IN00 to IN11, M00, OUT00 to OUT11.

A list of block weights names no blocks: its length says which they are. 17 and 26 are for Stable Diffusion 1, 12 and 20
for SDXL; the shorter ones leave out the blocks without attention, whose weight is 0.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from ..errors import TriptychError, did_you_mean, shown
from ..prompt.numbers import number


def _named(side: str, *numbers: int) -> list[str]:
    return [f"{side}{number:02}" for number in numbers]


BASE, MIDDLE = "BASE", "M00"
LISTS: Mapping[int, tuple[str, ...]] = {
    17: (BASE, *_named("IN", 1, 2, 4, 5, 7, 8), MIDDLE, *_named("OUT", *range(3, 12))),
    26: (BASE, *_named("IN", *range(12)), MIDDLE, *_named("OUT", *range(12))),
    12: (BASE, *_named("IN", 4, 5, 7, 8), MIDDLE, *_named("OUT", *range(6))),
    20: (BASE, *_named("IN", *range(9)), MIDDLE, *_named("OUT", *range(9))),
}
FAMILIES = {17: ("sd1", "sd2"), 26: ("sd1", "sd2"), 12: ("sdxl",), 20: ("sdxl",)}  # whose blocks they are
PRESETS = {
    "NONE": "0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0",
    "ALL": "1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1",
    "INS": "1,1,1,1,0,0,0,0,0,0,0,0,0,0,0,0,0",
    "IND": "1,0,0,0,1,1,1,0,0,0,0,0,0,0,0,0,0",
    "INALL": "1,1,1,1,1,1,1,0,0,0,0,0,0,0,0,0,0",
    "MIDD": "1,0,0,0,1,1,1,1,1,1,1,1,0,0,0,0,0",
    "OUTD": "1,0,0,0,0,0,0,0,1,1,1,1,0,0,0,0,0",
    "OUTS": "1,0,0,0,0,0,0,0,0,0,0,0,1,1,1,1,1",
    "OUTALL": "1,0,0,0,0,0,0,0,1,1,1,1,1,1,1,1,1",
    "ALL0.5": "0.5,0.5,0.5,0.5,0.5,0.5,0.5,0.5,0.5,0.5,0.5,0.5,0.5,0.5,0.5,0.5,0.5",
}  # as people write them, for Stable Diffusion 1
SIDE = re.compile(r"(down|up)_blocks\.(\d+)\.(resnets|attentions|downsamplers|upsamplers)\.(\d+)\.")


def block_weights(text: str) -> tuple[float, ...]:
    """The weights of `lbw=`: a preset, or a list of numbers.

    Raises:
        TriptychError: there is no such preset, or a list has another length.
    """
    if "," not in text and text.strip().upper() not in PRESETS:
        raise TriptychError(f"there are no block weights {shown(text)!r}{did_you_mean(text.upper(), PRESETS)}")
    weights = tuple(number(part, text) for part in PRESETS.get(text.strip().upper(), text).split(","))
    if len(weights) not in LISTS:
        lengths = "17 or 26 numbers for Stable Diffusion 1, 12 or 20 for SDXL"
        raise TriptychError(f"the block weights {shown(text)!r} are {len(weights)} numbers: give {lengths}")
    return weights


def weight_of(path: str, weights: tuple[float, ...]) -> float:
    """The weight of a parameter or layer, by its path such as `down_blocks.1.attentions.0.proj_in`."""
    return dict(zip(LISTS[len(weights)], weights, strict=True)).get(block_of(path), 0.0)


def block_of(path: str) -> str:
    """The block of a path; BASE where it is in none, as text encoders are."""
    if "mid_block." in path:
        return MIDDLE
    if re.search(r"(^|\.)conv_in\.", path):
        return "IN00"
    match = SIDE.search(path)
    if match is None:
        return BASE
    first, place = 3 * int(match[2]), int(match[4])
    if match[1] == "down":
        return f"IN{first + (3 if match[3] == 'downsamplers' else 1 + place):02}"
    return f"OUT{first + (2 if match[3] == 'upsamplers' else place):02}"
