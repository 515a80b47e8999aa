"""Files that a prompt calls: `<lora:NAME:TEXT:UNET:RANKS>`, `<hypernet:NAME:STRENGTH>`, `<aesthetic:NAME:STRENGTH>`.

Arguments go by position or by name (`te=`, `unet=`, `dyn=`, `lbw=`, `start=`, `stop=`, `step=`). One strength alone is
that of text encoders and denoiser; a tag without any has strength 1. `dyn` is the number of ranks that are used of a
LoRA, `lbw` the weights of its blocks, `start`, `stop` and `step` (`5-15`) the steps at which it acts. A strength may
have a course (`0.8@0.2-0.7`), and a tag inside a schedule comes and goes with it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

from ..errors import TriptychError, did_you_mean, shown
from .courses import Course, Shown, Window, product, read_course

Called = Literal["lora", "hypernet", "aesthetic"]

TAGS: dict[str, Called] = {"lora": "lora", "lyco": "lora", "hypernet": "hypernet", "aesthetic": "aesthetic"}
ARGUMENTS: dict[Called, tuple[str, ...]] = {
    "lora": ("te", "unet", "dyn"), "hypernet": ("te",), "aesthetic": ("te",),
}  # fmt: skip  # by their positions
STEPS = ("start", "stop", "step")
NAMED: dict[Called, tuple[str, ...]] = {"lora": ("lbw", *STEPS), "hypernet": STEPS, "aesthetic": STEPS}
TAG = re.compile(r"<(\w+):([^<>]+)>")
MARK = 0xE000  # the first letter of Unicode that stands for nothing: a tag's place while schedules are read


@dataclass(frozen=True)
class Call:
    """A file that a prompt names.

    `text`, `denoiser`: its strength on the text encoders and on the denoiser; None where the tag gives no number.
    `ranks`: how many ranks of a LoRA are used; None for all.
    `blocks`: the weights of a LoRA's blocks, as they are written; "" for none.
    `course`: how its strength goes over the steps; None where it does not change.
    """

    kind: Called
    name: str
    text: float | None = None
    denoiser: float | None = None
    ranks: int | None = None
    blocks: str = ""
    course: Course | None = None


@dataclass(frozen=True)
class Read:
    """A prompt without its tags, what they call in their order, and what of them is not used, a sentence each."""

    text: str
    calls: tuple[Call, ...] = ()
    notes: tuple[str, ...] = ()


def read_calls(prompt: str, late: bool = False) -> Read:
    """
    Args:
        late: as of `prompt.read_schedule`, for tags inside schedules.

    Raises:
        TriptychError: a strength or a number of ranks or steps is no number, or out of range.
    """
    matches = list(TAG.finditer(prompt))
    if not matches:
        return Read(prompt)
    marks = {match.start(): chr(MARK + i) for i, match in enumerate(matches)}
    marked = TAG.sub(lambda match: marks[match.start()], prompt)
    found, notes = [], []
    for match in matches:
        kind = TAGS.get(match[1].lower())
        if kind is None:
            notes.append(f"{shown(match[0])} is left out of the prompt: it calls nothing{did_you_mean(match[1], TAGS)}")
            continue
        call, unused = _call(kind, match[0], match[2].split(":"))
        if _in_brackets(prompt, match.start()):
            call = replace(call, course=product(call.course, Shown(marked, marks[match.start()], late)))
        found.append(call)
        notes += [f"{argument!r} in {shown(match[0])} is not used" for argument in unused]
    return Read(" ".join(TAG.sub(" ", prompt).split()), tuple(found), tuple(notes))


def _in_brackets(prompt: str, place: int) -> bool:
    """Whether a square bracket is open at a place, so that a schedule may be around it."""
    return prompt.count("[", 0, place) > prompt.count("]", 0, place)


def _call(kind: Called, tag: str, parts: list[str]) -> tuple[Call, list[str]]:
    """What one tag calls, and those of its arguments that mean nothing here."""
    given: dict[str, str] = {}
    unused = []
    places = iter(ARGUMENTS[kind])
    for part in parts[1:]:
        name, equals, value = part.partition("=")
        place = name.strip().lower() if equals else next(places, "")
        if place in (*ARGUMENTS[kind], *NAMED[kind]):
            given[place] = value if equals else part  # a named argument wins over an earlier one by position
        elif part.strip():
            unused.append(part.strip())
    text, course = read_course(given["te"], tag) if "te" in given else (None, None)
    denoiser, other = read_course(given["unet"], tag) if "unet" in given else (text, course)
    if course and other and course != other:
        raise TriptychError(f"{shown(tag)} has two courses: its strengths come and go together")
    if denoiser is not None and text is None:
        text = 1.0
    ranks = _ranks(given["dyn"], tag) if "dyn" in given else None
    course = product(course or other, _window(given, tag))
    return Call(kind, parts[0].strip(), text, denoiser, ranks, given.get("lbw", "").strip(), course), unused


def _window(given: Mapping[str, str], tag: str) -> Window | None:
    """The steps at which a file acts, from `start=`, `stop=` and `step=5-15`: after step `start`, up to step `stop`."""
    begins, ends = given.get("start", ""), given.get("stop", "")
    if "step" in given:
        begins, _, ends = given["step"].partition("-")
    if not begins.strip() and not ends.strip():
        return None
    for number in (begins, ends):
        if number.strip() and not number.strip().isdecimal():
            raise TriptychError(f"{shown(tag)} names the step {number.strip()!r}: give a whole number from 0 on")
    return Window(float(begins or 0), float(ends or "inf"), counted=True)


def _ranks(text: str, tag: str) -> int:
    if not text.strip().isdecimal() or int(text) < 1:
        raise TriptychError(f"{shown(tag)} asks for {text.strip()!r} ranks of the LoRA: give a whole number from 1 on")
    return int(text)
