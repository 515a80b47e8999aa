"""What every grammar of prompts is made of: signs, remarks on them, and an LALR parser over signs that are settled.

Markup of prompts is forgiving: a bracket that nobody closes is text, or goes on to the end. So a text is parsed in
three stages, each linear in its length: lark's lexer cuts it into signs, the dialect decides which brackets and marks
count, and lark's LALR parser builds the tree of what is left. No text fails in any of them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from typing import Any

from lark import Lark, ParseTree, Token

from ..errors import TriptychError, did_you_mean, shown

SIGNS = r"""
    ESCAPE: /\\[\s\S]/
    BACKSLASH: /\\/
    BREAK.3: /\bBREAK\b/
    AND.3: /\bAND\b/
    NUMBER.2: /:\s*[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?\s*(?=[)\]]|\bAND\b|\Z)/
    COLON: ":"
    BAR: "|"
    ROUND: "("
    ROUND_END: ")"
    SQUARE: "["
    SQUARE_END: "]"
    SPACE: /\s+/
    WORD: /(?:(?!\bBREAK\b|\bAND\b)[^\s\\()\[\]:|])+/
"""
ROUND, SQUARE = "ROUND", "SQUARE"
CLOSES = {"ROUND_END": ROUND, "SQUARE_END": SQUARE}
DEPTH = 100  # brackets within brackets; beyond, they are text
MOST = 100.0  # the greatest weight that is taken for one, up or down
RATIO = re.compile(r"(?<![\w.])\d+\Z")  # before ":9", as in 16:9
WHOLE = re.compile(r":\d+\s*\Z")


@dataclass(frozen=True)
class Remark:
    """Markup that is not read as it may have been meant.

    Attributes:
        position: of `piece` in the text that was given, from 0.
        piece: the markup.
        why: what is done with it, and what A1111 does where that differs.
    """

    position: int
    piece: str
    why: str

    def __str__(self) -> str:
        return f"{shown(self.piece)!r} at position {self.position}: {self.why}"


class Remarks:
    """Collects remarks on signs, and gives them in the order of the text."""

    def __init__(self) -> None:
        self.found: list[Remark] = []

    def __call__(self, sign: Token, why: str, piece: str = "") -> None:
        """On a sign, or on a piece that begins with it."""
        self.found.append(Remark(start(sign), piece or str(sign), why))

    @property
    def sorted(self) -> tuple[Remark, ...]:
        return tuple(sorted(dict.fromkeys(self.found), key=lambda remark: remark.position))


@cache
def _lexer() -> Lark:
    return Lark(SIGNS, parser=None, lexer="basic")


def signs(text: str) -> list[Token]:
    """The signs of a text, which together are the text."""
    return list(_lexer().lex(text))


@cache
def _parser(rules: str) -> Lark:
    return Lark(rules, parser="lalr", lexer="basic")


def tree(rules: str, settled: Iterable[Token]) -> ParseTree:
    """The tree of signs whose types are the terminals that `rules` declares."""
    parser: Any = _parser(rules).parse_interactive()
    for sign in settled:
        parser.feed_token(sign)
    result: ParseTree = parser.feed_eof()
    return result


def start(sign: Token) -> int:
    """Where a sign begins in the text."""
    return sign.start_pos or 0


def retyped(sign: Token, kind: str) -> Token:
    """The same sign as another terminal."""
    return sign.update(type=kind)


def as_number(sign: Token) -> float:
    """The number in a NUMBER sign, such as ": 1.3 "."""
    return float(sign.lstrip(":"))


def is_ratio(before: Token | None, number: Token) -> bool:
    """Whether a number after a colon is the second half of a ratio of whole numbers, as in 16:9."""
    return before is not None and before.type == "WORD" and bool(RATIO.search(before) and WHOLE.match(number))


def check_mode(mode: str, modes: Iterable[str]) -> None:
    """
    Raises:
        TriptychError: there is no such mode.
    """
    if mode not in (known := list(modes)):
        raise TriptychError(f"there is no mode {mode!r} of prompts{did_you_mean(mode, known)}")
