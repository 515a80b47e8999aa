"""How tensors are mixed: one function for each way, each with its paper, and the table of all of them.

A formula mixes one tensor of every file. `Given.tensors` are weights, or changes of weights (of LoRAs and of
differences); with changes, `Given.base` is None and stands for zero. Everything is computed in float32.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations

import torch
from torch import Tensor

from ..errors import TriptychError
from ..files.mapped import CHUNK
from .settings import Settings
from .sparse import drop_at_random, drop_by_size, elected_mean, trim

TRAIN = 1.8  # the factor of train difference, so that alpha 1 is about as strong as a whole difference


@dataclass(frozen=True)
class Given:
    """One tensor of every file, all of one shape, with their weights.

    `random` gives the generator of a file, by its place; it depends on the seed, the tensor's name and the place alone.
    """

    tensors: Sequence[Tensor]
    weights: Sequence[float]
    base: Tensor | None
    settings: Settings
    random: Callable[[int], torch.Generator]

    def changes(self) -> list[Tensor]:
        """What each file changes of the base."""
        if self.base is None:
            return [tensor.float() for tensor in self.tensors]
        return [tensor.float() - self.base.float() for tensor in self.tensors]

    def based(self, change: Tensor) -> Tensor:
        """The base with `scale` times the change."""
        scaled = change * self.settings.scale
        return scaled if self.base is None else scaled.add_(self.base.float())


def weighted_sum(given: Given) -> Tensor:
    """The sum of w_i A_i."""
    total = given.tensors[0].float() * given.weights[0]
    for tensor, weight in zip(given.tensors[1:], given.weights[1:], strict=True):
        total.add_(tensor.float(), alpha=weight)
    return total


def add_difference(given: Given) -> Tensor:
    """A + the sum of w_i (B_i - C): task arithmetic (arXiv:2212.04089, section 2), with A in the base's place."""
    first, *others = given.tensors
    base, total = _base(given), first.float().clone()
    for tensor, weight in zip(others, given.weights[1:], strict=True):
        total.add_(tensor.float() - base, alpha=weight)
    return total


def train_difference(given: Given) -> Tensor:
    """A + 1.8 w |B-A| / (|B-A| + |B-C|) (B - C): the difference counts where A does not have it yet (supermerger)."""
    first, second = (tensor.float() for tensor in given.tensors)
    learned, missing = second - _base(given), (second - first).abs()
    share = missing / (missing + learned.abs())
    return first + TRAIN * given.weights[1] * share.nan_to_num(0.0) * learned


def slerp(given: Given) -> Tensor:
    """Spherical interpolation of two flattened tensors, and linear interpolation of their norms (Shoemake 1985).

    Parallel tensors, and tensors of zeros, are interpolated linearly.
    """
    a, b = (tensor.float() for tensor in given.tensors)
    share = _share(given)
    sizes = a.norm(), b.norm()
    if not float(sizes[0] * sizes[1]):
        return torch.lerp(a, b, share)
    angle = torch.arccos(((a / sizes[0]) * (b / sizes[1])).sum().clamp(-1, 1))
    if float(angle.sin()) < 1e-6:
        return torch.lerp(a, b, share)
    turned = (a / sizes[0]) * ((1 - share) * angle).sin() + (b / sizes[1]) * (share * angle).sin()
    found: Tensor = turned / angle.sin() * torch.lerp(sizes[0], sizes[1], share)
    return found


def cosine(given: Given) -> Tensor:
    """Each column is taken from B, and from A the more, the more alike the columns are (supermerger's cosineA).

    For a share s of B and the cosine c of the columns the result is A + k (B - A) with k = 1 - clamp(c - s, 0, 1).
    """
    a, b = (tensor.float() for tensor in given.tensors)
    alike = torch.nn.functional.cosine_similarity(a, b, dim=0) if a.dim() else torch.ones(())
    return torch.lerp(a, b, 1 - (alike - _share(given)).clamp(0, 1))


def ties(given: Given) -> Tensor:
    """TIES (arXiv:2306.01708, algorithm 1): trim, elect a sign for each value, and average those that agree with it."""
    trimmed = [trim(change, given.settings.density) for change in given.changes()]
    return given.based(elected_mean(trimmed, given.weights))


def dare(given: Given) -> Tensor:
    """DARE (arXiv:2311.03099, equation 1): drop values at random, rescale the rest, then the sum of w_i changes."""
    rate = _rate(given)
    total = torch.zeros(given.tensors[0].shape)
    for place, (change, weight) in enumerate(zip(given.changes(), given.weights, strict=True)):
        total.add_(drop_at_random(change, rate, given.random(place)), alpha=weight)
    return given.based(total)


def della(given: Given) -> Tensor:
    """DELLA (arXiv:2406.11617, section 3): drop small values more often, rescale, elect signs, and average."""
    rate, window = _rate(given), given.settings.window
    kept = [drop_by_size(change, rate, window, given.random(i)) for i, change in enumerate(given.changes())]
    return given.based(elected_mean(kept, given.weights))


def model_stock(given: Given) -> Tensor:
    """Model stock (arXiv:2403.19522, equation 5): the average, moved to the base by the angle between the changes.

    t = N cos / (1 + (N - 1) cos), with the mean cosine over all pairs of changes. It takes no weights.
    """
    changes = [change.flatten() for change in given.changes()]
    count = len(changes)
    pairs = [torch.nn.functional.cosine_similarity(a, b, dim=0, eps=1e-6) for a, b in combinations(changes, 2)]
    alike = torch.stack(pairs).mean()
    share = (count * alike / (1 + (count - 1) * alike)).nan_to_num(0.0, 0.0, 0.0)
    return given.based((share * sum(changes) / count).reshape(given.tensors[0].shape))


def _base(given: Given) -> Tensor:
    return torch.zeros(()) if given.base is None else given.base.float()


def _share(given: Given) -> float:
    """The second file's share of both weights."""
    first, second = given.weights
    return second / (first + second)


def _rate(given: Given) -> float:
    if not given.settings.drop < 1:
        raise TriptychError(f"drop must be below 1, not {given.settings.drop:g}: something must be kept")
    return given.settings.drop


@dataclass(frozen=True)
class Formula:
    """One way to mix.

    Attributes:
        mix: the function.
        reads: the settings that it reads.
        base: whether it needs the base that the files were made from, when they are whole checkpoints.
        changes: whether it can mix changes of weights (LoRAs, differences), which have no base.
        two: it takes exactly two files.
        weighs: whether it reads weights.
        by_value: each value of the result depends on the values at its place alone.
    """

    mix: Callable[[Given], Tensor]
    reads: tuple[str, ...] = ()
    base: bool = False
    changes: bool = True
    two: bool = False
    weighs: bool = True
    by_value: bool = False

    def apply(self, given: Given) -> Tensor:
        """The mix in float32."""
        if not self.by_value:
            return self.mix(given)
        mixed = torch.empty(given.tensors[0].shape)
        for into, part in zip(mixed.view(-1).split(CHUNK), self.parts(given), strict=True):
            into.copy_(part)
        return mixed

    def parts(self, given: Given) -> Iterator[Tensor]:
        """The mix in float32, flat and in parts. Where values do not depend on each other, few are in work at once."""
        if not self.by_value:
            yield self.mix(given).reshape(-1)
            return
        parts = [tensor.reshape(-1).split(CHUNK) for tensor in given.tensors]
        bases = given.base.reshape(-1).split(CHUNK) if given.base is not None else [None] * len(parts[0])
        for base, *tensors in zip(bases, *parts, strict=True):
            yield self.mix(replace(given, tensors=tensors, base=base))


FORMULAS: Mapping[str, Formula] = {
    "weighted-sum": Formula(weighted_sum, ("blocks",), by_value=True),
    "add-difference": Formula(add_difference, ("blocks",), base=True, changes=False, by_value=True),
    "train-difference": Formula(train_difference, ("blocks",), base=True, changes=False, two=True, by_value=True),
    "slerp": Formula(slerp, ("blocks",), two=True),
    "cosine": Formula(cosine, ("blocks",), changes=False, two=True),
    "ties": Formula(ties, ("density", "scale"), base=True),
    "dare": Formula(dare, ("drop", "seed", "scale"), base=True),
    "della": Formula(della, ("drop", "window", "seed", "scale"), base=True),
    "model-stock": Formula(model_stock, ("scale",), base=True, weighs=False),
}
