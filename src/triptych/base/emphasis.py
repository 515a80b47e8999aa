"""How the weights of a prompt act on the hidden states of a text encoder.

Dimensions: P positions of a chunk (start, tokens, end, padding), W width of the hidden states, V rows that a chunk
takes in a call of the encoder: its own, and those that the mode compares it with.
"""

from __future__ import annotations

import math
from itertools import groupby
from typing import NamedTuple

import torch
from torch import Tensor

LEAST = 1e-5  # compel's least weight for its blend, which would be infinite at 0


class Chunk(NamedTuple):
    """Token ids of a chunk without start and end tokens, with a weight each."""

    ids: tuple[int, ...]
    weights: tuple[float, ...]
    mode: str = "a1111"

    @property
    def weighed(self) -> bool:
        return any(weight != 1 for weight in self.weights)


EMPTY = Chunk((), ())


def variants(chunk: Chunk) -> list[Chunk]:
    """The chunks [V] to encode for one: itself; for ComfyUI's and compel's modes the empty one; for compel's also the
    chunk without each run of tokens whose weight is below 1."""
    if not chunk.weighed or chunk.mode not in ("comfy", "compel"):
        return [chunk]
    lacking = [_without(chunk, run) for run, _ in _lowered(chunk)] if chunk.mode == "compel" else []
    return [chunk, EMPTY, *lacking]


def weighed(chunk: Chunk, states: Tensor, before: int = 1) -> Tensor:
    """The states of a chunk [P, W] with its weights, from those of its `variants` [V, P, W].

    * a1111: each state times its weight, then all of the chunk scaled, so that their mean is what it was.
    * no-norm: each state times its weight.
    * comfy: empty + weight x (state - empty), against the states of the empty prompt.
    * compel: as comfy; then, for each run with a weight w below 1, a mean with the prompt without that run, which has
      the weight tan((1 - w) pi / 2) beside 1.

    Args:
        before: positions before the first token.
    """
    own = states[0]
    if not chunk.weighed:
        return own
    if chunk.mode in ("comfy", "compel"):
        return _against_others(chunk, states, before)
    changed = own * _column(chunk, own, before)
    mean = changed.float().mean()
    if chunk.mode == "no-norm" or not mean:
        return changed
    return changed * (own.float().mean() / mean).to(own.dtype)


def _against_others(chunk: Chunk, states: Tensor, before: int) -> Tensor:
    """ComfyUI's and compel's modes."""
    mixed = _from_empty(states[0], states[1], chunk, before)
    if chunk.mode == "comfy":
        return mixed
    total = 1.0
    for (run, weight), state in zip(_lowered(chunk), states[2:], strict=True):
        share = math.tan((1 - max(weight, LEAST)) * math.pi / 2)
        total += share
        mixed = mixed.lerp(_from_empty(state, states[1], _without(chunk, run), before), share / total)
    return mixed


def _from_empty(state: Tensor, empty: Tensor, chunk: Chunk, before: int) -> Tensor:
    weights = _column(chunk, state, before)
    return torch.where(weights == 1, state, empty + weights * (state - empty))


def _column(chunk: Chunk, state: Tensor, before: int) -> Tensor:
    """The weight of each position [P, 1]; 1 where there is no token of the prompt."""
    after = len(state) - before - len(chunk.weights)
    weights = [*[1.0] * before, *chunk.weights, *[1.0] * after]
    return torch.tensor(weights, dtype=state.dtype, device=state.device).unsqueeze(1)


def _lowered(chunk: Chunk) -> list[tuple[range, float]]:
    """The runs of tokens whose weight is below 1, with that weight."""
    found, first = [], 0
    for weight, run in groupby(chunk.weights):
        last = first + len(list(run))
        if weight < 1:
            found.append((range(first, last), weight))
        first = last
    return found


def _without(chunk: Chunk, run: range) -> Chunk:
    kept = [place for place in range(len(chunk.ids)) if place not in run]
    ids, weights = tuple(chunk.ids[place] for place in kept), tuple(chunk.weights[place] for place in kept)
    return chunk._replace(ids=ids, weights=weights)
