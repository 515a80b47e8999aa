"""Reads the markup of a prompt into what guides the steps of a picture: AND, schedules, weights."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from ..errors import TriptychError, did_you_mean
from ..options import EMPHASIS
from ..prompt.conjunctions import read_conjunction
from ..prompt.grammar import Remark
from ..prompt.runs import Weighted
from ..prompt.schedules import read_schedule
from ..prompt.weights import read_emphasis
from .request import Guide, Prompt, Schedule

WAYS = {
    "a1111": ("a1111", "a1111"), "no-norm": ("a1111", "no-norm"), "blend": ("a1111", "compel"),
    "comfy": ("comfy", "comfy"), "compel": ("compel", "compel"),
}  # fmt: skip  # emphasis -> how weights are written, and how they are applied


@dataclass(frozen=True)
class Markup:
    """How the markup of prompts is read.

    Attributes:
        emphasis: how weights are written and applied: "a1111", "no-norm" (without restoring the mean), "blend" (written
            as A1111's, applied as compel's), "comfy", "compel"; "none": a prompt is text, and nothing in it is markup.
        late: each text of a schedule goes on for one step more, as in A1111.
    """

    emphasis: str = "a1111"
    late: bool = False

    def __post_init__(self) -> None:
        if self.emphasis not in EMPHASIS:
            raise TriptychError(f"there is no emphasis {self.emphasis!r}{did_you_mean(self.emphasis, EMPHASIS)}")

    def prompt(self, text: str, steps: int) -> Read:
        """Read a prompt for a picture of so many steps."""
        if self.emphasis == "none":
            return Read((Guide(_weighted(text, "none")),))
        joined = read_conjunction(text)
        guides, remarks, begin = [], list(joined.warnings), 0
        for piece, weight in joined.pieces:
            begin = max(text.find(piece, begin), 0)
            schedule, said = self._scheduled(piece, steps)
            guides.append(Guide(schedule, weight))
            remarks += (replace(remark, position=begin + remark.position) for remark in said)
        return Read(tuple(guides), _in_order(remarks))

    def negative(self, text: str, steps: int) -> Read:
        """Read a negative prompt. It is one: AND in it is text."""
        if self.emphasis == "none":
            return Read((Guide(_weighted(text, "none")),))
        schedule, remarks = self._scheduled(text, steps)
        return Read((Guide(schedule),), _in_order(remarks))

    def _scheduled(self, text: str, steps: int) -> tuple[Prompt, list[Remark]]:
        schedule, (written, applied) = read_schedule(text, steps, late=self.late), WAYS[self.emphasis]
        entries, remarks = [], list(schedule.warnings)
        for last, entry in schedule.entries:
            read = read_emphasis(entry, written)
            entries.append((last, Weighted(read.runs, applied)))
            remarks += _placed(read.warnings, text, entry)
        return (entries[0][1] if len(entries) == 1 else Schedule(tuple(entries))), remarks


@dataclass(frozen=True)
class Read:
    """The prompts that guide a picture, and what of their markup is not read as it may have been meant."""

    guides: tuple[Guide, ...]
    remarks: tuple[Remark, ...] = ()


def _weighted(text: str, mode: str) -> Weighted:
    return Weighted(read_emphasis(text, mode).runs)


def _placed(remarks: Iterable[Remark], text: str, entry: str) -> Iterator[Remark]:
    """Remarks on one text of a schedule, with their positions in the whole, as far as the piece is found there."""
    for remark in remarks:
        yield remark if entry == text else replace(remark, position=max(text.find(remark.piece), 0))


def _in_order(remarks: Iterable[Remark]) -> tuple[Remark, ...]:
    return tuple(sorted(dict.fromkeys(remarks), key=lambda remark: remark.position))
