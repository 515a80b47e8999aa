"""Markup of other programs in a prompt: weights, schedules, alternation, AND, BREAK."""

from __future__ import annotations

from ..errors import shown
from .grammar import CLOSES, signs, start

SHOWN = 3


def markup_in(prompt: str) -> list[tuple[int, str]]:
    """The pieces of a prompt that A1111 would not read as text, with their positions, from 0; each piece once.

    Of nested brackets it is the outermost pair; one that is not closed goes on to the end.
    """
    found: list[tuple[int, str]] = []
    first = depth = 0
    for sign in signs(prompt):
        if sign.type in CLOSES.values():
            first = first if depth else start(sign)
            depth += 1
        elif sign.type in CLOSES and depth:
            depth -= 1
            if not depth:
                found.append((first, prompt[first : start(sign) + 1]))
        elif sign.type in ("AND", "BREAK") and not depth:
            found.append((start(sign), str(sign)))
    if depth:
        found.append((first, prompt[first:]))
    once = {piece: position for position, piece in reversed(found)}
    return sorted((position, piece) for piece, position in once.items())


def read_as_text(prompt: str) -> str:
    """One sentence on the markup of a prompt, "" where it has none."""
    found = markup_in(prompt)
    if not found:
        return ""
    more = f" and {len(found) - SHOWN} more" if len(found) > SHOWN else ""
    pieces = ", ".join(f"{shown(piece)!r} at position {position}" for position, piece in found[:SHOWN])
    return f"{pieces}{more}: read as text, for weights, schedules, AND and BREAK are not applied"
