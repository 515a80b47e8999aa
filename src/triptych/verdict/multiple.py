"""Several comparisons at once: the chance of one false claim among them stays below the level, whatever is true.

Holm (1979), A simple sequentially rejective multiple test procedure: the smallest p-value is held against level / m,
the next against level / (m - 1), and so on. Where some hypotheses exclude each other ("there is no difference", "the
difference matters"), only as many can be true as there are groups: Shaffer (1986), Modified sequentially rejective
multiple test procedures.
"""

from collections.abc import Hashable, Mapping, Sequence
from typing import TypeVar

from .intervals import ALPHA

Key = TypeVar("Key", bound=Hashable)


def sure(p: float) -> bool:
    """Whether a p-value, adjusted where there are several, carries its claim."""
    return p <= ALPHA + 1e-9


def holm(p_values: Mapping[Key, float]) -> dict[Key, float]:
    """The adjusted p-values, 0..1: each may be held against the level by itself."""
    adjusted = shaffer([(p,) for p in p_values.values()])
    return {key: p for key, (p,) in zip(p_values, adjusted, strict=True)}


def shaffer(groups: Sequence[Sequence[float]]) -> list[tuple[float, ...]]:
    """Adjusted p-values of groups of hypotheses, of each of which at most one is true."""
    order = sorted((p, group, place) for group, members in enumerate(groups) for place, p in enumerate(members))
    open_ = [len(members) for members in groups]
    adjusted = [list(members) for members in groups]
    largest = 0.0
    for p, group, place in order:
        could_be_true = sum(1 for left in open_ if left)
        largest = max(largest, min(1.0, p * could_be_true))
        adjusted[group][place] = largest
        open_[group] -= 1
    return [tuple(members) for members in adjusted]
