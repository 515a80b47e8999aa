"""Files that a prompt calls, as A1111 writes it: `<lora:NAME:TEXT:UNET:RANKS>`, `<hypernet:NAME:STRENGTH>`.

Arguments go by position or by name (`te=`, `unet=`, `dyn=`). One strength alone is that of text encoders and
denoiser; a tag without any has strength 1. `dyn` is the number of ranks that are used of a LoRA.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Literal

from ..errors import TriptychError, did_you_mean, shown

Called = Literal["lora", "hypernet"]

TAGS: dict[str, Called] = {"lora": "lora", "lyco": "lora", "hypernet": "hypernet"}
ARGUMENTS: dict[Called, tuple[str, ...]] = {"lora": ("te", "unet", "dyn"), "hypernet": ("te",)}  # by their positions
TAG = re.compile(r"<(\w+):([^<>]+)>")
MOST = 100.0  # the greatest strength that is taken for one, up or down


@dataclass(frozen=True)
class Call:
    """A file that a prompt names.

    `text`, `denoiser`: its strength on the text encoders and on the denoiser; None where the tag gives no number.
    `ranks`: how many ranks of a LoRA are used; None for all.
    """

    kind: Called
    name: str
    text: float | None = None
    denoiser: float | None = None
    ranks: int | None = None


@dataclass(frozen=True)
class Read:
    """A prompt without its tags, what they call in their order, and what of them is not used, a sentence each."""

    text: str
    calls: tuple[Call, ...] = ()
    notes: tuple[str, ...] = ()


def read_calls(prompt: str) -> Read:
    """
    Raises:
        TriptychError: a strength or a number of ranks is no number, or out of range.
    """
    found, notes = [], []
    for match in TAG.finditer(prompt):
        kind = TAGS.get(match[1].lower())
        if kind is None:
            notes.append(f"{shown(match[0])} is left out of the prompt: it calls nothing{did_you_mean(match[1], TAGS)}")
            continue
        call, unused = _call(kind, match[0], match[2].split(":"))
        found.append(call)
        notes += [f"{argument!r} in {shown(match[0])} is not used" for argument in unused]
    if not found and not notes:
        return Read(prompt)
    return Read(" ".join(TAG.sub(" ", prompt).split()), tuple(found), tuple(notes))


def _call(kind: Called, tag: str, parts: list[str]) -> tuple[Call, list[str]]:
    """What one tag calls, and those of its arguments that mean nothing here."""
    given: dict[str, str] = {}
    unused = []
    places = iter(ARGUMENTS[kind])
    for part in parts[1:]:
        name, equals, value = part.partition("=")
        place = name.strip().lower() if equals else next(places, "")
        if place in ARGUMENTS[kind]:
            given[place] = value if equals else part  # a named argument wins over an earlier one by position
        elif part.strip():
            unused.append(part.strip())
    text = strength(given["te"], tag) if "te" in given else None
    denoiser = strength(given["unet"], tag) if "unet" in given else text
    if denoiser is not None and text is None:
        text = 1.0
    return Call(kind, parts[0].strip(), text, denoiser, _ranks(given["dyn"], tag) if "dyn" in given else None), unused


def strength(text: str, where: str) -> float:
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


def _ranks(text: str, tag: str) -> int:
    if not text.strip().isdecimal() or int(text) < 1:
        raise TriptychError(f"{shown(tag)} asks for {text.strip()!r} ranks of the LoRA: give a whole number from 1 on")
    return int(text)
