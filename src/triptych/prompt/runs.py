"""A prompt as runs of text, each with one weight."""

from __future__ import annotations

from dataclasses import dataclass

Run = tuple[str, float]
BREAK = ("BREAK", -1.0)  # the run that begins a new chunk


@dataclass(frozen=True)
class Weighted:
    """A prompt whose weights are read. A text encoder reads it whole, in as many chunks as it needs.

    Attributes:
        runs: text and weight, in their order; `BREAK` begins a new chunk.
        mode: how the weights act on hidden states; see `base/emphasis.py`.
    """

    runs: tuple[Run, ...]
    mode: str = "a1111"

    def __bool__(self) -> bool:
        """Whether it says anything."""
        return any(text.strip() for text, weight in self.runs if (text, weight) != BREAK)


Said = str | Weighted  # what a base encodes: a text as it is, or a prompt whose weights are read
