"""Which of the known words stand in a prompt: its components, and their values."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from . import Evidence

WHOLE = "prompt"  # the component of a prompt that names none of the known words: the text as a whole
THING = "thing"


def vocabulary(evidence: Evidence) -> dict[str, tuple[str, ...]]:
    """Component -> the values that it can have; the class word of a subject is one of the things."""
    words = {name: tuple(dict.fromkeys(values)) for name, values in evidence.words.items()}
    concept = evidence.concept
    if concept.kind == "subject" and THING in words:
        words[THING] = tuple(dict.fromkeys((concept.class_word, *words[THING])))
    return words


def named(prompt: str, words: Mapping[str, Sequence[str]]) -> dict[str, str]:
    """Component -> the longest of its values that stands in the prompt, in whole words; of those that do."""
    found = {}
    for component, values in words.items():
        there = [value for value in values if re.search(whole(value), prompt)]
        if there:
            found[component] = max(there, key=len)
    return found


def whole(value: str) -> str:
    """The pattern of a value in whole words."""
    return rf"(?<!\w){re.escape(value)}(?!\w)"
