"""`AND`: several prompts that guide one picture together, each with a weight."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from lark import Token, Tree

from .grammar import MOST, Remark, Remarks, as_number, check_mode, is_ratio, retyped, signs, start, tree

RULES = """
    start: piece (AND piece)*
    piece: TEXT* [WEIGHT]
    %declare TEXT WEIGHT AND
"""
MODES = ("a1111", "a1111-exact")


@dataclass(frozen=True)
class Conjunction:
    """The prompts that AND joins.

    Attributes:
        pieces: text and weight, in their order, at least one. Guidance adds weight x (conditioned - unconditioned)
            of each; weights are not normalised and may be negative.
        warnings: what is not read as it may have been meant.
    """

    pieces: tuple[tuple[str, float], ...]
    warnings: tuple[Remark, ...] = ()


def read_conjunction(text: str, mode: str = "a1111") -> Conjunction:
    """The prompts in `a cat :1.2 AND a dog :0.8`. A prompt without AND is one piece, as it is. No text is an error.

    Args:
        mode: "a1111"; "a1111-exact", where a number after a colon at the end is a weight without any AND, too, and so
            multiplies the scale of guidance, and where the 9 of 16:9 is one.

    Raises:
        TriptychError: there is no such mode.
    """
    check_mode(mode, MODES)
    found, remarks = signs(text), Remarks()
    joined = any(sign.type == "AND" for sign in found)
    _say_what_is_cut(found, remarks)
    settled = _settled(found, joined, mode == "a1111-exact", remarks)
    pieces = [piece for piece in tree(RULES, settled).children if isinstance(piece, Tree)]
    return Conjunction(tuple(_piece(piece, joined) for piece in pieces), remarks.sorted)


def _settled(found: Sequence[Token], joined: bool, exact: bool, remarks: Remarks) -> Iterator[Token]:
    for place, sign in enumerate(found):
        last = place + 1 == len(found) or found[place + 1].type == "AND"
        if sign.type == "NUMBER" and last and "e" not in sign.lower():
            yield retyped(sign, "WEIGHT" if _is_weight(found, place, joined, exact, remarks) else "TEXT")
        else:
            yield sign if sign.type == "AND" else retyped(sign, "TEXT")


def _is_weight(found: Sequence[Token], place: int, joined: bool, exact: bool, remarks: Remarks) -> bool:
    number, before = found[place], found[place - 1] if place else None
    if abs(as_number(number)) > MOST:
        remarks(number, f"read as text, for a weight is from -{MOST:g} to {MOST:g}")
        return False
    if joined and not is_ratio(before, number):
        return True
    if exact:
        remarks(number, "read as the weight of the whole prompt, which multiplies the scale of guidance")
    elif joined:
        remarks(number, "read as text, for it looks like a ratio; A1111 reads it as the prompt's weight")
    else:
        remarks(number, "read as text; A1111 multiplies the scale of guidance by it, though there is no AND")
    return exact


def _piece(piece: Tree[Token], joined: bool) -> tuple[str, float]:
    weights = [child for child in piece.children if isinstance(child, Token) and child.type == "WEIGHT"]
    text = "".join(str(child) for child in piece.children if isinstance(child, Token) and child.type == "TEXT")
    weight = as_number(weights[0]) if weights else 1.0
    return (text.strip() if joined else text.rstrip() if weights else text), weight


def _say_what_is_cut(found: Sequence[Token], remarks: Remarks) -> None:
    """Say which AND is inside brackets: it cuts them in two."""
    inside: list[tuple[Token, list[Token]]] = []  # each open bracket, and the ANDs directly in it
    for sign in found:
        if sign.type in ("ROUND", "SQUARE"):
            inside.append((sign, []))
        elif sign.type == "AND" and inside:
            inside[-1][1].append(sign)
        elif sign.type in ("ROUND_END", "SQUARE_END") and inside:
            bracket, joints = inside.pop()
            for joint in joints:
                remarks(joint, f"cuts the bracket at position {start(bracket)} in two")
