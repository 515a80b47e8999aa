"""Chunks: a long prompt in parts that a text encoder reads one at a time."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import pairwise

from .runs import BREAK, Run

ROOM = 75  # tokens of a chunk, without the start and end tokens
BACKTRACK = 20  # a comma among so many last tokens ends a chunk
PIECE = re.compile(r"\s*,|\s*[^\s,]+|\s+")


def chunks(
    runs: Iterable[Run], count: Callable[[str], int], room: int = ROOM, backtrack: int = BACKTRACK
) -> list[list[Run]]:
    """A prompt in chunks of at most `room` tokens; their texts together are the prompt.

    BREAK begins a new chunk. A full chunk ends after its last comma, if that is one of its `backtrack` last tokens,
    and else after the last word that fits. Words are not split, so that neither are those that stand for embeddings,
    except where one alone has more than `room` tokens.

    Args:
        runs: text and weight, as `emphasis` returns them.
        count: how many tokens a piece of the prompt has: a word or comma, with the spaces before it.
        room: tokens of a chunk, from 1.
        backtrack: 0: commas make no difference.
    """
    done: list[list[Run]] = []
    for part in parts(runs):
        pieces = [(piece, weight, size) for text, weight in part for piece, size in _pieces(text, count, room)]
        commas = [piece.strip() == "," for piece, _, _ in pieces]
        begins = divided([size for *_, size in pieces], commas, room, backtrack)
        done += [_joined(pieces[begin:end]) for begin, end in pairwise([*begins, len(pieces)])]
    return done


def parts(runs: Iterable[Run]) -> list[list[Run]]:
    """What BREAK divides: at least one part, which may be empty."""
    found: list[list[Run]] = [[]]
    for run in runs:
        if run == BREAK:
            found.append([])
        else:
            found[-1].append(run)
    return found


def divided(sizes: Sequence[int], commas: Sequence[bool], room: int, backtrack: int = BACKTRACK) -> list[int]:
    """Where chunks begin among pieces of these sizes; the first begins at 0.

    Args:
        sizes: tokens of each piece, at most `room`.
        commas: whether the piece is a comma.
        room, backtrack: as of `chunks`.
    """
    begins, used = [0], 0
    for place, size in enumerate(sizes):
        if used + size > room:
            begins.append(place if commas[place] else _end(sizes, commas, begins[-1], place, backtrack))
            used = sum(sizes[begins[-1] : place])
        if used + size > room:  # the tail and a long word
            begins.append(place)
            used = 0
        used += size
    return begins


def _pieces(text: str, count: Callable[[str], int], room: int) -> Iterator[tuple[str, int]]:
    """Words and commas, each with the spaces before it, and their tokens. One longer than a chunk is halved."""
    waiting = PIECE.findall(text)[::-1]
    while waiting:
        piece = waiting.pop()
        tokens = count(piece)
        if tokens > room and len(piece) > 1:
            waiting += [piece[len(piece) // 2 :], piece[: len(piece) // 2]]
        else:
            yield piece, tokens


def _end(sizes: Sequence[int], commas: Sequence[bool], begin: int, place: int, backtrack: int) -> int:
    """Where the chunk from `begin` to `place`, which is full, ends: after a comma near its end, or at its end."""
    tail = 0
    for last in range(place - 1, begin - 1, -1):
        tail += sizes[last]
        if tail > backtrack:
            break
        if commas[last]:
            return last + 1
    return place


def _joined(chunk: Sequence[tuple[str, float, int]]) -> list[Run]:
    """Neighbours of one weight as one run."""
    runs: list[Run] = []
    for text, weight, _ in chunk:
        if runs and runs[-1][1] == weight:
            runs[-1] = (runs[-1][0] + text, weight)
        else:
            runs.append((text, weight))
    return runs
