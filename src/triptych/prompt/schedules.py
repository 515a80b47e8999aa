"""Schedules: a prompt whose words change while a picture is sampled, as A1111 writes them."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial

from lark import Token, Tree

from ..errors import TriptychError
from .grammar import CLOSES, DEPTH, ROUND, SQUARE, Remark, Remarks, as_number, check_mode, retyped, signs, tree

RULES = """
    start: line
    line: (TEXT | group)*
    ?group: SQUARE line WHEN END               -> comes
         | SQUARE line COLON line WHEN END     -> changes
         | SQUARE line (BAR line)+ END        -> alternates
    %declare TEXT SQUARE COLON BAR WHEN END
"""
MODES = ("a1111", "a1111-exact", "a1111-1.5")

Entry = tuple[int, str]


@dataclass(frozen=True)
class Schedule:
    """A prompt in the texts that it has one after the other.

    Attributes:
        entries: the last step, counted from 1, and the text up to it, in their order. The last one's is the last step.
        warnings: what is not read as it may have been meant.
    """

    entries: tuple[Entry, ...]
    warnings: tuple[Remark, ...] = ()

    def text(self, step: int) -> str:
        """The text of a step, counted from 1."""
        at = bisect_left([last for last, _ in self.entries], step)
        return self.entries[min(at, len(self.entries) - 1)][1]


def read_schedule(text: str, steps: int, mode: str = "a1111", late: bool = False) -> Schedule:
    """The texts of a prompt: `[from:to:when]`, `[to:when]`, `[from::when]` and `[a|b]`, nested. No text is an error.

    `when` with a point is a fraction of the steps, rounded down; without one, it is the last step of `from`. Other
    brackets and all other markup stay in the texts, for `read_emphasis`.

    Args:
        steps: how many the sampler takes, from 1.
        mode: "a1111"; "a1111-exact", where a bare "|" or a backslash at the end switches all schedules off;
            "a1111-1.5", where also each `when` below 1 is a fraction and each other one a step, as up to version 1.5.
        late: each text but the last goes on for one step more, as A1111's sampling has it, which counts from 0.

    Raises:
        TriptychError: there is no such mode, or there are no steps.
    """
    check_mode(mode, MODES)
    if steps < 1:
        raise TriptychError(f"a schedule has 1 step or more, not {steps}")
    found, remarks = signs(text), Remarks()
    squares = _Squares(found, mode != "a1111", remarks)
    settled = squares.settled()
    if mode != "a1111" and squares.off:
        return Schedule(((steps, text),), remarks.sorted)
    when = partial(_last_step, steps=steps, old=mode == "a1111-1.5")
    line = tree(RULES, settled)
    ends = {steps}
    for switch in (sign for sign in settled if sign.type == "WHEN"):
        if when(switch) >= steps:
            remarks(switch, f"comes after the last of {steps} steps, so it never switches")
        elif when(switch) >= 1:
            ends.add(when(switch))
    if any(sign.type == "BAR" for sign in settled):
        ends.update(range(1, steps + 1))
    entries = [(end, "".join(_texts(line, end, when))) for end in sorted(ends)]
    return Schedule(tuple(_late(entries, steps) if late else entries), remarks.sorted)


def _last_step(sign: Token, steps: int, old: bool) -> int:
    """The last step before a switch; 0 where it comes first of all."""
    value = as_number(sign)
    fraction = value < 1 if old else "." in sign
    return int(max(0.0, min(float(steps), value * steps if fraction else value)))


def _late(entries: Sequence[Entry], steps: int) -> list[Entry]:
    """Each text goes on for one step more, and what is then left without a step is left out."""
    later = [(min(end + 1, steps), text) for end, text in entries]
    return [entry for at, entry in enumerate(later) if not at or later[at - 1][0] < steps]


def _texts(node: Tree[Token], step: int, when: partial[int]) -> Iterator[str]:
    """The text of a tree at a step, in pieces."""
    lines = [child for child in node.children if isinstance(child, Tree)]
    if node.data == "alternates":
        yield from _texts(lines[(step - 1) % len(lines)], step, when)
    elif node.data in ("comes", "changes"):
        after = step > when(node.children[-2])
        if after or node.data == "changes":
            yield from _texts(lines[-1 if after else 0], step, when)
    else:
        for child in node.children:
            if isinstance(child, Tree):
                yield from _texts(child, step, when)
            else:
                yield str(child)


@dataclass
class _Open:
    """An opening bracket that is not closed yet, and the places of the marks directly inside it."""

    place: int
    kind: str
    deep: bool
    marks: list[int] = field(default_factory=list)
    broken: bool = False  # a bracket inside it has no other half


@dataclass
class _Squares:
    """Settles which square brackets are schedules or alternations; all else is text."""

    signs: Sequence[Token]
    exact: bool
    remarks: Remarks
    kinds: dict[int, str] = field(default_factory=dict)  # of the signs that are not text
    bare: set[int] = field(default_factory=set)  # "|" outside alternations
    off: bool = False  # A1111 reads no schedule at all

    def settled(self) -> list[Token]:
        live: list[_Open] = []
        count = {ROUND: 0, SQUARE: 0}
        for place, sign in enumerate(self.signs):
            if sign.type in count:
                live.append(_Open(place, sign.type, len(live) >= DEPTH))
                count[sign.type] += 1
            elif kind := CLOSES.get(sign.type):
                if count[kind]:
                    self._close(live, kind, place, count)
                elif live:
                    live[-1].broken = True
            elif sign.type in ("COLON", "NUMBER", "BAR"):
                if sign.type == "BAR":
                    self.bare.add(place)
                if live:
                    live[-1].marks.append(place)
        for group in live:
            if group.kind == SQUARE and any(self.signs[mark].type == "NUMBER" for mark in group.marks):
                self.remarks(self.signs[group.place], "not closed, so it is no schedule")
        self._say_what_switches_off()
        return [retyped(sign, self.kinds.get(place, "TEXT")) for place, sign in enumerate(self.signs)]

    def _close(self, live: list[_Open], kind: str, end: int, count: dict[str, int]) -> None:
        """Close the innermost bracket of a kind. Those inside it that are still open are text."""
        inside: list[int] = []
        group = live.pop()
        while group.kind != kind:
            count[group.kind] -= 1
            inside += group.marks
            group = live.pop()
            group.broken = True
        count[kind] -= 1
        group.marks = sorted(group.marks + inside)
        if kind == SQUARE and group.marks:
            self._settle(group, end)
        if group.broken and live and self.exact:
            live[-1].broken = True

    def _settle(self, group: _Open, end: int) -> None:
        opener, marks = self.signs[group.place], group.marks
        bars = [mark for mark in marks if self.signs[mark].type == "BAR"]
        timed = marks[-1] == end - 1 and self.signs[end - 1].type == "NUMBER"
        piece = "".join(self.signs[group.place : end + 1])
        if group.deep or (self.exact and group.broken):
            self.remarks(
                opener, "read as text, for it is nested too deep, or a bracket inside it has no other half", piece
            )
        elif len(bars) == len(marks):
            self.kinds |= {group.place: "SQUARE", end: "END"} | dict.fromkeys(bars, "BAR")
            self.bare.difference_update(bars)
        elif bars:
            self.remarks(opener, "read as text, for it has both | and :", piece)
        elif timed and len(marks) <= 2 and all(self.signs[mark].type == "COLON" for mark in marks[:-1]):
            self.kinds |= {group.place: "SQUARE", end: "END", end - 1: "WHEN"}
            self.kinds |= dict.fromkeys(marks[:-1], "COLON")
        elif timed:
            self.remarks(opener, "read as text, for a schedule has one or two texts and a number", piece)

    def _say_what_switches_off(self) -> None:
        last = self.signs[-1] if self.signs else None
        slash = [last] if last is not None and last.type == "BACKSLASH" else []
        self.off = bool(self.bare or slash)
        if "SQUARE" not in self.kinds.values():
            return
        what = "all schedules of the prompt are read as text because of it"
        if not self.exact:
            what = "read as text; in A1111, " + what
        for sign in [self.signs[place] for place in sorted(self.bare)] + slash:
            self.remarks(sign, what)
