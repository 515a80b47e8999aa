"""Strengths in prompts and options."""

from __future__ import annotations

import math

from ..errors import TriptychError, shown

MOST = 100.0  # the greatest strength that is taken for one, up or down


def number(text: str, where: str) -> float:
    """A strength, as a number.

    Raises:
        TriptychError: it is none, not finite, or beyond -100 to 100.
    """
    try:
        value = float(text)
    except ValueError:
        raise TriptychError(f"the strength {text.strip()!r} in {shown(where)} is not a number such as 0.8") from None
    if not math.isfinite(value) or abs(value) > MOST:
        raise TriptychError(f"the strength {text.strip()} in {shown(where)} is not one: give -{MOST:g} to {MOST:g}")
    return value
