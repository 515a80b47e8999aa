"""The error of each row, with one call of the denoiser for each size of latents.

Dimensions: R rows of all jobs, C channels, H and W of a latent.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from itertools import groupby

import torch
from torch import Tensor

from ..base import Base, Conditioning, Framing, Owner, Process, spans
from ..data.examples import Batch, Example


@dataclass(frozen=True)
class Objective:
    """The noise process, and how errors count: squared, or by the pseudo-Huber loss of scale `huber`."""

    process: Process
    huber: float = 0.0

    def error(self, predicted: Tensor, target: Tensor) -> Tensor:
        """d^2, or 2 c (sqrt(d^2 + c^2) - c) of the differences d: d^2 far below c, and 2 c |d| far above it.

        The pseudo-Huber loss of arXiv:2403.16728, with a constant c.
        """
        squared = (predicted - target).square()
        if not self.huber:
            return squared
        return 2 * self.huber * squared / ((squared + self.huber**2).sqrt() + self.huber)  # stable for small d


@dataclass(frozen=True)
class Untrained:
    """What the base predicts without what is trained.

    Attributes:
        texts: the conditioning of each prompt, as the untrained text encoders read it.
        off: opens a block in which nothing that is trained acts.
    """

    base: Base
    texts: Mapping[str, Conditioning]
    off: Callable[[], AbstractContextManager[None]]

    @torch.no_grad()
    def predicted(
        self, noisy: Tensor, times: Tensor, prompts: Sequence[str], framings: Sequence[Framing | None]
    ) -> Tensor:
        """The predictions [rows, C, H, W] for noisy latents."""
        with self.off(), self.base.rows(spans([(None, len(noisy))])):
            return self.base.denoise(noisy, times, Conditioning.cat(map(self.texts.__getitem__, prompts)), framings)


def errors_of(
    base: Base,
    owners: Sequence[Owner],
    batches: Sequence[Batch],
    objectives: Sequence[Objective],
    conditioning: Conditioning,
    untrained: Untrained,
) -> list[Tensor]:
    """The mean error of each row, batch by batch [rows].

    Args:
        owners: of the batches.
        objectives: of the batches.
        conditioning: of all rows, in the order of the batches.
        untrained: gives the targets of examples that aim at the base.
    """
    times = torch.cat([batch.times for batch in batches])
    groups = _by_size(owners, batches, objectives)
    errors = torch.cat([_errors_of(base, group, times, conditioning, untrained) for group in groups])
    if len(groups) > 1:
        places = torch.tensor([place for group in groups for place in group.places], device=errors.device)
        errors = errors[places.argsort()]
    return list(errors.split([len(batch) for batch in batches]))


@dataclass(frozen=True)
class _Group:
    """Rows whose latents have one size.

    Attributes:
        places: indices of its rows among the rows of all jobs, ascending, so that an owner's rows are adjacent.
        whole: whether these are all rows.
    """

    owners: list[Owner]
    objectives: list[Objective]
    examples: list[Example]
    noise: list[Tensor]
    prompts: list[str]
    places: list[int]
    whole: bool

    def of(self, values: Tensor) -> Tensor:
        """The values of the group's rows, from the values of all rows [R, ...]."""
        return values if self.whole else values[torch.tensor(self.places, device=values.device)]

    def by_objective(self, of: Callable[..., Tensor], *values: Tensor) -> Tensor:
        """`of(objective, *values)` of adjacent rows with one objective, joined."""
        objectives = [objective for objective, _ in groupby(self.objectives)]
        if len(objectives) == 1:
            return of(objectives[0], *values)
        sizes = [len(list(own)) for _, own in groupby(self.objectives)]
        columns = zip(*(value.split(sizes) for value in values), strict=True)
        return torch.cat([of(objective, *own) for objective, own in zip(objectives, columns, strict=True)])


def _by_size(owners: Sequence[Owner], batches: Sequence[Batch], objectives: Sequence[Objective]) -> list[_Group]:
    rows = [
        (owner, objective, example, noise, prompt)
        for owner, objective, batch in zip(owners, objectives, batches, strict=True)
        for example, noise, prompt in zip(batch.examples, batch.noise, batch.prompts, strict=True)
    ]
    places: dict[torch.Size, list[int]] = {}
    for place, (_, _, example, _, _) in enumerate(rows):
        places.setdefault(example.latent.shape, []).append(place)
    return [
        _Group(
            [rows[place][0] for place in own], [rows[place][1] for place in own], [rows[place][2] for place in own],
            [rows[place][3] for place in own], [rows[place][4] for place in own], own, len(places) == 1,
        )
        for own in places.values()
    ]  # fmt: skip


def _errors_of(base: Base, group: _Group, times: Tensor, conditioning: Conditioning, untrained: Untrained) -> Tensor:
    """The mean errors of a group's rows, from one call of the denoiser."""
    latents = _stacked([example.latent for example in group.examples])
    noise, times = torch.stack(group.noise), group.of(times)
    if not group.whole:
        conditioning = conditioning.rows(torch.tensor(group.places, device=latents.device))
    framings = [example.framing for example in group.examples]
    counts = {owner: group.owners.count(owner) for owner in dict.fromkeys(group.owners)}
    noisy = group.by_objective(lambda objective, *rows: objective.process.noised(*rows), latents, noise, times)
    target = group.by_objective(lambda objective, *rows: objective.process.target(*rows), latents, noise, times)
    if own := [place for place, example in enumerate(group.examples) if example.as_base]:
        at = torch.tensor(own, device=latents.device)
        prompts, framed = [group.prompts[place] for place in own], [framings[place] for place in own]
        kept = untrained.predicted(noisy[at], times[at], prompts, framed)
        target = target.index_put((at,), kept.to(target.dtype))
    with base.rows(spans(counts.items())):
        predicted = base.denoise(noisy, times, conditioning, framings)
    return mean_error(group.by_objective(Objective.error, predicted, target), group.examples)


def _stacked(latents: Sequence[Tensor]) -> Tensor:
    """Stack latents to [R, C, H, W] in the memory format of the autoencoder's output, which convolutions then keep."""
    stacked = torch.stack(tuple(latents))
    if all(latent.stride(0) == 1 for latent in latents):
        return stacked.contiguous(memory_format=torch.channels_last)
    return stacked


def mean_error(errors: Tensor, examples: Sequence[Example]) -> Tensor:
    """The mean over channels and positions [R], from [R, C, H, W], with the positions' weights of each example."""
    if all(example.weights is None for example in examples):
        return errors.mean(dim=(1, 2, 3))
    even = torch.ones(errors.shape[2:], dtype=errors.dtype, device=errors.device)
    weights = torch.stack([even if example.weights is None else example.weights.to(even) for example in examples])
    return (errors.mean(dim=1) * weights).sum(dim=(1, 2)) / weights.sum(dim=(1, 2))
