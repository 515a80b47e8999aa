"""Markup of other programs in a prompt: weights, schedules, alternation, AND, BREAK."""

from __future__ import annotations

import re

MARKUP = re.compile(
    r"""\\.|                                     # an escaped sign is text
        (?P<found>\b(?:AND|BREAK)\b
        | \([^()\[\]]*\) | \[[^()\[\]]*\]        # the innermost of nested ones
        | [()\[\]])""",
    re.VERBOSE | re.DOTALL,
)
SHOWN = 3


def markup_in(prompt: str) -> list[str]:
    """The pieces of a prompt that A1111 would not read as text, in their order, each once."""
    return list(dict.fromkeys(match["found"] for match in MARKUP.finditer(prompt) if match["found"]))


def read_as_text(prompt: str) -> str:
    """One sentence on the markup of a prompt, "" where it has none."""
    found = markup_in(prompt)
    if not found:
        return ""
    more = f" and {len(found) - SHOWN} more" if len(found) > SHOWN else ""
    pieces = f"{', '.join(map(repr, found[:SHOWN]))}{more}"
    return f"{pieces}: read as text, for weights, schedules, AND and BREAK are not applied"
