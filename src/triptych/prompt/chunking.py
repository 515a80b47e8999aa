"""Chunks: a long prompt in parts that a text encoder reads one at a time."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator

from .weights import BREAK, Run

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
    chunk: list[tuple[str, float, int]] = []
    for text, weight in runs:
        if (text, weight) == BREAK:
            done.append(_joined(chunk))
            chunk = []
            continue
        for piece, tokens in _pieces(text, count, room):
            if chunk and sum(size for *_, size in chunk) + tokens > room:
                end = len(chunk) if piece.strip() == "," else _end(chunk, backtrack)
                done.append(_joined(chunk[:end]))
                chunk = chunk[end:]
                if sum(size for *_, size in chunk) + tokens > room:  # the tail and a long word
                    done.append(_joined(chunk))
                    chunk = []
            chunk.append((piece, weight, tokens))
    return [*done, _joined(chunk)]


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


def _end(chunk: list[tuple[str, float, int]], backtrack: int) -> int:
    """Where a full chunk ends: after a comma near its end, or at its end."""
    tail = 0
    for place in range(len(chunk) - 1, -1, -1):
        tail += chunk[place][2]
        if tail > backtrack:
            break
        if chunk[place][0].strip() == ",":
            return place + 1
    return len(chunk)


def _joined(chunk: list[tuple[str, float, int]]) -> list[Run]:
    """Neighbours of one weight as one run."""
    runs: list[Run] = []
    for text, weight, _ in chunk:
        if runs and runs[-1][1] == weight:
            runs[-1] = (runs[-1][0] + text, weight)
        else:
            runs.append((text, weight))
    return runs
