"""Emphasis: which weight the words of a prompt have, as A1111, ComfyUI and compel write it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from decimal import Decimal

from lark import Token, Tree

from .grammar import CLOSES, DEPTH, MOST, ROUND, SQUARE, Remark, Remarks, as_number, check_mode, is_ratio, signs, tree
from .runs import BREAK, Run

RULES = """
    start: _part*
    _part: TEXT | BREAK | group
    group: (OPEN | SET) _part* CLOSE
    %declare TEXT BREAK OPEN SET CLOSE
"""
MORE, LESS = 1.1, 0.9  # of a round bracket and of compel's "+"; of compel's "-"
FACTORS = {ROUND: MORE, SQUARE: 1 / MORE}
NO_NUMBER = re.compile(r":\s*[+-]?[.\d]+\s*")
SPECIAL = re.compile(r"[\\()\[\]|:]|\b(?=(?:AND|BREAK)\b)")


@dataclass(frozen=True)
class Emphasis:
    """A prompt in runs of one weight each.

    Attributes:
        runs: text and weight, in their order, at least one; a weight is from -100 to 100 before nesting multiplies it.
            `("BREAK", -1.0)` begins a new chunk.
        warnings: what is not read as it may have been meant.
    """

    runs: tuple[Run, ...]
    warnings: tuple[Remark, ...] = ()


@dataclass(frozen=True)
class _Dialect:
    """
    Attributes:
        kinds: the brackets that give a weight.
        sets: a number replaces the weight outside; without it, it multiplies it.
        open_ended: a bracket that is not closed weighs up to the end; without it, it is text.
        exact: A1111's defects are reproduced.
        escaped: what a backslash makes text; it is text itself before any other sign. None: it makes any sign text.
    """

    kinds: tuple[str, ...] = (ROUND, SQUARE)
    sets: bool = False
    open_ended: bool = True
    exact: bool = False
    escaped: str | None = None


A1111, COMFY = _Dialect(), _Dialect((ROUND,), sets=True, open_ended=False, escaped="()")
MODES = ("a1111", "a1111-exact", "comfy", "compel", "none")


def read_emphasis(text: str, mode: str = "a1111") -> Emphasis:
    """The weights in a prompt. No text is an error.

    Args:
        mode: "a1111"; "a1111-exact", with its defects; "comfy", where a number replaces the weight outside it;
            "compel", with `word+`, `(words)--` and `(words)1.3`; "none", where nothing is markup.

    Raises:
        TriptychError: there is no such mode.
    """
    check_mode(mode, MODES)
    if mode == "none":
        return Emphasis(((text, 1.0),))
    found, remarks = signs(text), Remarks()
    if mode == "compel":
        settled = _Compel(found, remarks).settled()
    else:
        dialect = COMFY if mode == "comfy" else _Dialect(exact=mode == "a1111-exact")
        settled = _Brackets(found, dialect, remarks).settled()
    runs = _merged(_weighed(tree(RULES, settled), 1.0, exact=mode == "a1111-exact"))
    return Emphasis(tuple(runs) or (("", 1.0),), remarks.sorted)


def escape(text: str) -> str:
    """The text as it is written in a prompt of A1111's, so that no sign of it is markup."""
    return SPECIAL.sub(r"\\\g<0>", text)


def write(runs: Iterable[Run]) -> str:
    """A prompt that A1111's mode reads as these runs.

    Neighbours of one weight are read as one run, and spaces beside BREAK go with it.
    """
    return "".join(_written(run) for run in runs)


def _written(run: Run) -> str:
    if run == BREAK:
        return " BREAK "
    text, weight = escape(run[0]), run[1]
    return text if weight == 1.0 else f"({text}:{Decimal(repr(weight)):f})"


def _weighed(node: Tree[Token], weight: float, exact: bool) -> Iterator[Run]:
    for child in node.children:
        if isinstance(child, Tree):
            opener = child.children[0]
            factor = float(str(opener))
            sets = isinstance(opener, Token) and opener.type == "SET"
            yield from _weighed(child, factor if sets else weight * factor, exact)
        elif child.type == "BREAK":
            yield (BREAK[0], BREAK[1] * weight) if exact else BREAK
        elif child.type == "TEXT":
            yield str(child), weight


def _merged(runs: Iterable[Run]) -> list[Run]:
    """Neighbours of one weight as one run; empty ones are left out."""
    texts: list[tuple[list[str], float]] = []
    for text, weight in runs:
        if (text, weight) == BREAK or not texts or texts[-1][1] != weight or texts[-1][0] == [BREAK[0]]:
            texts.append(([text], weight))
        else:
            texts[-1][0].append(text)
    return [("".join(pieces), weight) for pieces, weight in texts if any(pieces)]


@dataclass
class _Brackets:
    """Settles which brackets and numbers of A1111's or ComfyUI's markup give a weight.

    Round and square brackets are paired apart from each other, so pairs may cross: `(a [b) c]`. Where one ends inside
    another, that one is closed as well and opened again, so that a tree can be built.
    """

    signs: Sequence[Token]
    dialect: _Dialect
    remarks: Remarks
    closers: dict[int, int] = field(default_factory=dict)  # of a closing bracket: of its opening one
    openers: dict[int, Token] = field(default_factory=dict)  # of an opening bracket: OPEN or SET, with its number
    numbers: set[int] = field(default_factory=set)  # that are weights

    def settled(self) -> Iterator[Token]:
        self._pair()
        live: list[int] = []
        for place, sign in enumerate(self.signs):
            if place in self.openers:
                live.append(place)
                yield self.openers[place]
            elif place in self.closers:
                at = live.index(self.closers[place])
                crossed = live[at + 1 :]
                yield from (Token("CLOSE", "") for _ in live[at:])
                yield from (self.openers[other] for other in crossed)
                live[at:] = crossed
            elif sign.type == "BREAK" and self.dialect.kinds == A1111.kinds:
                if live:
                    self.remarks(sign, "begins a new chunk; A1111 reads the word there, with a negative weight")
                yield Token("BREAK", str(sign))
            elif place not in self.numbers and not self._beside_break(place):
                yield Token("TEXT", self._text(sign))
        yield from (Token("CLOSE", "") for _ in live)

    def _pair(self) -> None:
        live: dict[str, list[int]] = {kind: [] for kind in self.dialect.kinds}
        deep: set[int] = set()
        for place, sign in enumerate(self.signs):
            if sign.type in live:
                if sum(map(len, live.values())) >= DEPTH:
                    deep.add(place)
                    self.remarks(sign, f"read as text, for it is nested more than {DEPTH} deep")
                live[sign.type].append(place)
            elif (kind := CLOSES.get(sign.type, "")) in live:
                if not live[kind]:
                    self.remarks(sign, "read as text, for it closes nothing")
                elif (opener := live[kind].pop()) not in deep:
                    self.closers[place] = opener
                    self.openers[opener] = self._weight(kind, opener, place)
        for place in (place for places in live.values() for place in places if place not in deep):
            if self.dialect.open_ended:
                self.openers[place] = Token("OPEN", repr(FACTORS[self.signs[place].type]))
                self.remarks(self.signs[place], "not closed, so its weight goes on to the end")
            else:
                self.remarks(self.signs[place], "read as text, for it is not closed")

    def _weight(self, kind: str, opener: int, closer: int) -> Token:
        """What a pair of brackets does to the weight."""
        number = self.signs[closer - 1]
        if kind == ROUND and number.type == "NUMBER" and self._is_weight(opener, closer - 1):
            self.numbers.add(closer - 1)
            return Token("SET" if self.dialect.sets else "OPEN", repr(as_number(number)))
        if kind == ROUND and number.type != "NUMBER":
            for place in range(max(opener + 1, closer - 4), closer):  # a colon, spaces, dots and digits, spaces
                piece = "".join(self.signs[place:closer])
                if NO_NUMBER.fullmatch(piece):
                    self.remarks(self.signs[place], "read as text, for it is not a number; A1111 fails there", piece)
        return Token("OPEN", repr(FACTORS[kind]))

    def _is_weight(self, opener: int, place: int) -> bool:
        number, before = self.signs[place], self.signs[place - 1]
        if self.dialect.sets and place - 1 == opener:
            return False
        if not self.dialect.sets and "e" in number.lower():
            return False
        if abs(as_number(number)) > MOST:
            self.remarks(number, f"read as text, for a weight is from -{MOST:g} to {MOST:g}")
            return False
        if place - 1 > opener and is_ratio(before, number):
            weighs = self.dialect.exact or self.dialect.sets
            why = "read as a weight" if weighs else "read as a ratio; A1111 reads a weight"
            self.remarks(before, why, f"{before}{number}")
            return weighs
        return True

    def _beside_break(self, place: int) -> bool:
        """Whether a sign is the space that goes with a BREAK."""
        beside = self.signs[max(place - 1, 0) : place + 2]
        return (
            self.signs[place].type == "SPACE"
            and self.dialect.kinds == A1111.kinds
            and any(sign.type == "BREAK" for sign in beside)
        )

    def _text(self, sign: Token) -> str:
        if sign.type not in ("ESCAPE", "BACKSLASH"):
            return str(sign)
        return sign[1:] if self.dialect.escaped is None or sign[1:] in tuple(self.dialect.escaped) else str(sign)


@dataclass
class _Compel:
    """Settles compel's weights: `word+`, `word--`, `(words)+`, `(words)1.3`. Other brackets are text."""

    signs: Sequence[Token]
    remarks: Remarks
    AFTER = re.compile(r"(\++|-+|\d+(?:\.\d+)?|\.\d+)(?!\w|\.\d)")
    WORD = re.compile(r"(.*\w)(\++|-+)([,.;!?]*)", re.DOTALL)

    def settled(self) -> Iterator[Token]:
        openers, closers = self._pairs()
        for place, sign in enumerate(self.signs):
            rest = str(sign)
            if place - 1 in closers:  # what is after its weight
                match = self.AFTER.match(sign)
                rest = rest[match.end() :] if match else rest
            if place in openers:
                yield Token("OPEN", openers[place])
            elif place in closers:
                yield Token("CLOSE", "")
            elif sign.type == "WORD" and (word := self.WORD.fullmatch(rest)):
                yield from (Token("OPEN", repr(self._factor(word[2]))), Token("TEXT", word[1]), Token("CLOSE", ""))
                yield Token("TEXT", word[3])
            else:
                yield Token("TEXT", rest[1:] if sign.type == "ESCAPE" and sign[1] in "()+-\\" else rest)

    def _pairs(self) -> tuple[dict[int, str], set[int]]:
        """Of the brackets that have a weight: the opening ones with it, and the closing ones."""
        openers: dict[int, str] = {}
        closers: set[int] = set()
        live: list[int] = []
        for place, sign in enumerate(self.signs):
            if sign.type == ROUND:
                live.append(place)
            elif sign.type == "ROUND_END" and live:
                opener, after = live.pop(), self.signs[place + 1 : place + 2]
                match = self.AFTER.match(after[0]) if after and after[0].type == "WORD" else None
                if match and len(live) < DEPTH and abs(factor := self._factor(match[1])) <= MOST:
                    openers[opener] = repr(factor)
                    closers.add(place)
                else:
                    self.remarks(self.signs[opener], "read as text, for no weight follows where it is closed")
            elif sign.type == "ROUND_END":
                self.remarks(sign, "read as text, for it closes nothing")
        for place in live:
            self.remarks(self.signs[place], "read as text, for it is not closed")
        return openers, closers

    @staticmethod
    def _factor(mark: str) -> float:
        """Of "++", "--" or "1.3", limited to the greatest weight."""
        if mark[0] in "+-":
            return float(min((MORE if mark[0] == "+" else LESS) ** min(len(mark), DEPTH), MOST))
        return float(mark)
