"""Reads A1111's "parameters": the prompt, the negative prompt, and a line of settings."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field

FIELD = re.compile(r'\s*(\w[\w \-/]+):\s*("(?:\\.|[^\\"])+"|[^,]*)(?:,|$)')  # as A1111 divides its last line
LEAST = 3  # fields of a last line that is one of settings
NEGATIVE = "Negative prompt:"


@dataclass(frozen=True)
class Infotext:
    """What such a text says. `settings`: A1111's name of a setting -> its value."""

    prompt: str
    negative: str = ""
    settings: Mapping[str, str] = field(default_factory=dict)


def read_infotext(text: str) -> Infotext:
    """No text is an error: what has no settings is a prompt."""
    *lines, last = text.strip().split("\n")
    found = FIELD.findall(re.sub(r",?\s*Hashes: \{[^}]*\}", "", last))
    if len(found) < LEAST:
        lines, found = [*lines, last], []
    begin = next((i for i, line in enumerate(lines) if line.strip().startswith(NEGATIVE)), len(lines))
    negative = "\n".join(lines[begin:]).strip().removeprefix(NEGATIVE).strip()
    return Infotext("\n".join(lines[:begin]).strip(), negative, {name: _bare(value) for name, value in found})


def _bare(value: str) -> str:
    """A value without its quotation marks."""
    value = value.strip()
    try:
        return str(json.loads(value)) if value.startswith('"') else value
    except ValueError:
        return value
