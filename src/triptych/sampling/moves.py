"""Patches whose strength changes over the steps of a picture."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from ..patching.patch import Patch


@dataclass(frozen=True, eq=False)
class Move:
    """An open patch, and the factor on its strength at each step.

    Attributes:
        strength: of the patch where the factor is 1, and before and after sampling.
        factor: of a step, counted from 0, and the number of steps.
        text: it changes how prompts are encoded, so that they are encoded again where its strength changes.
    """

    patch: Patch
    strength: float
    factor: Callable[[int, int], float]
    text: bool = False


class Moving:
    """Sets the strengths of moves before each call of the denoiser."""

    def __init__(self, moves: Sequence[Move], steps: int) -> None:
        self.moves, self.steps = moves, steps
        self.now = [move.strength for move in moves]

    def at(self, call: int, calls: int) -> tuple[float, ...]:
        """Set the strengths for a call. Returns those that the encoding of prompts depends on."""
        step = call * self.steps // calls
        for i, move in enumerate(self.moves):
            self._set(i, move.strength * move.factor(step, self.steps))
        return tuple(now for now, move in zip(self.now, self.moves, strict=True) if move.text)

    def _set(self, i: int, strength: float) -> None:
        if strength != self.now[i]:
            self.moves[i].patch.set_strength(strength)
            self.now[i] = strength

    def back(self) -> None:
        for i, move in enumerate(self.moves):
            self._set(i, move.strength)


@contextmanager
def moving(moves: Sequence[Move], steps: int) -> Iterator[Moving]:
    """The strengths of moves for a picture of so many steps; they are put back at the end."""
    found = Moving(moves, steps)
    try:
        yield found
    finally:
        found.back()
