"""Block weights: one number for each block of the denoiser, as merging tools number them.

The order is BASE, IN00 to IN11, M00, OUT00 to OUT11 for Stable Diffusion 1 and 2 (26 numbers), and BASE, IN00 to IN08,
M00, OUT00 to OUT08 for SDXL (20). BASE is everything outside the blocks: text encoders, autoencoder, and the embeddings
of time and size. The layers after the last block count as that block. Numbers are for `input_blocks`, `middle_block`
and `output_blocks` of the original layout, whose numbers are not those of diffusers.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from ..errors import TriptychError
from ..families import Family
from ..units import counted

DEPTHS = {26: 12, 20: 9}  # count of numbers -> blocks on each side
INSIDE = re.compile(r"(input|output)_blocks\.(\d+)\.")


def block_names(family: Family) -> list[str]:
    """The names of a family's blocks, in the order of the numbers."""
    depth = DEPTHS[20 if family.pooled else 26]
    sides = ([f"{side}{place:02}" for place in range(depth)] for side in ("IN", "OUT"))
    before, after = sides
    return ["BASE", *before, "M00", *after]


def block_of(key: str, family: Family) -> str:
    """The block of a tensor, by its name in the original layout, with the prefix of its component."""
    if not key.startswith(family.prefix):
        return "BASE"
    inner = key.removeprefix(family.prefix)
    if found := INSIDE.match(inner):
        return f"{'IN' if found[1] == 'input' else 'OUT'}{int(found[2]):02}"
    if inner.startswith("middle_block."):
        return "M00"
    return block_names(family)[-1] if inner.startswith("out.") else "BASE"


def block_weights(text: str, family: Family) -> Mapping[str, float]:
    """Block -> number, from a text of numbers with commas between them; empty for an empty text.

    Raises:
        TriptychError: a part is no number, or there are not as many as the family has blocks.
    """
    if not text.strip():
        return {}
    names = block_names(family)
    try:
        numbers = [float(part) for part in text.split(",")]
    except ValueError:
        raise TriptychError(f"blocks must be numbers with commas between them, not {text!r}") from None
    if len(numbers) != len(names):
        raise TriptychError(
            f"{family.title} has {len(names)} blocks ({names[0]}, {names[1]} to {names[-1]}),"
            f" and {counted(len(numbers), 'number')} given"
        )
    return dict(zip(names, numbers, strict=True))
