"""Combinations: the artifacts of several methods from the same replicate, attached at once.

A combination has no training of its own. The gain from one part is the difference between the combination with it and
the combination without it, so a study needs both rows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from ..data.concept import Concept
from ..methods import method_named
from ..scores import Cost, parts_of
from .point import FULL, Point, Use
from .training import Run


@dataclass(frozen=True)
class Together:
    """The runs of one replicate, attached at once."""

    method: str  # the names of the parts, joined
    replicate: int
    parts: tuple[Run, ...]

    def uses(self, points: Mapping[str, Point]) -> tuple[Use, ...]:
        """The files of its parts, each at its own point, and all of them at the strength of the combination."""
        factor = points.get(self.method, FULL).strength
        own = (use for run in self.parts for use in run.uses(points))
        return tuple(replace(use, strength=factor * use.strength) for use in own)

    def phrase(self, concept: Concept) -> str:
        """The phrase that calls every part. A learned word replaces the noun, rare words go before it, each once."""
        phrase = concept.class_word
        for run in sorted(self.parts, key=lambda run: -method_named(run.method).opens_at):
            method = method_named(run.method)
            own = method.phrase(run.settings, "")
            if not own or f" {own} " not in f" {phrase} ":
                phrase = method.phrase(run.settings, phrase)
        return phrase


def together(names: Sequence[str], trained: Sequence[Run]) -> list[Together]:
    """The combinations of every replicate in which all parts have a result."""
    found = []
    for name in names:
        for replicate in sorted({run.replicate for run in trained}):
            runs = {run.method: run for run in trained if run.replicate == replicate}
            if runs.keys() >= set(parts_of(name)):
                found.append(Together(name, replicate, tuple(runs[part] for part in parts_of(name))))
    return found


def cost_together(name: str, costs: Sequence[Cost]) -> Cost | None:
    """The sum over the parts. Memory is the largest of them, since they are trained one after the other."""
    parts = [cost for cost in costs if cost.method in parts_of(name)]
    if len(parts) < len(parts_of(name)):
        return None
    seconds = [cost.seconds_alone for cost in parts if cost.seconds_alone is not None]
    peaks = [cost.peak_bytes for cost in parts if cost.peak_bytes is not None]
    return replace(
        parts[0],
        method=name,
        attaches=all(cost.attaches for cost in parts),
        **{
            entry: sum(getattr(cost, entry) for cost in parts)
            for entry in ("parameters", "file_bytes", "steps", "pictures_seen", "tuning_trials")
        },
        seconds_alone=sum(seconds) if len(seconds) == len(parts) else None,
        peak_bytes=max(peaks) if len(peaks) == len(parts) else None,
        seconds_shared=None,
        trained_with=(),
        at_once=1,
        seconds_a_picture=None,
    )


def failures_together(names: Sequence[str], failures: Mapping[str, str]) -> dict[str, str]:
    """Combination -> why it has no row, or too few replicates: one of its parts failed."""
    return {
        name: f"its part {part} has no result: {failures[part]}"
        for name in names
        for part in reversed(parts_of(name))
        if part in failures
    }
