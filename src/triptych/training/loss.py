"""The squared error of each row, with one call of the denoiser for each size of latents.

Dimensions: R rows of all jobs, C channels, H and W of a latent.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..base import Base, Conditioning, Owner, spans
from ..data.examples import Batch, Example


def squared_errors(
    base: Base, owners: Sequence[Owner], batches: Sequence[Batch], conditioning: Conditioning
) -> list[tuple[Tensor, Tensor]]:
    """The mean squared error and the time of each row, batch by batch ([rows], [rows]).

    Args:
        owners: of the batches.
        conditioning: of all rows, in the order of the batches.
    """
    times = torch.cat([batch.times for batch in batches])
    groups = _by_size(owners, batches)
    errors = torch.cat([_errors_of(base, group, times, conditioning) for group in groups])
    if len(groups) > 1:
        places = torch.tensor([place for group in groups for place in group.places], device=errors.device)
        errors = errors[places.argsort()]
    sizes = [len(batch) for batch in batches]
    return list(zip(errors.split(sizes), times.split(sizes), strict=True))


@dataclass(frozen=True)
class _Group:
    """Rows whose latents have one size.

    Attributes:
        places: indices of its rows among the rows of all jobs, ascending, so that an owner's rows are adjacent.
        whole: whether these are all rows.
    """

    owners: list[Owner]
    examples: list[Example]
    noise: list[Tensor]
    places: list[int]
    whole: bool

    def of(self, values: Tensor) -> Tensor:
        """The values of the group's rows, from the values of all rows [R, ...]."""
        return values if self.whole else values[torch.tensor(self.places, device=values.device)]


def _by_size(owners: Sequence[Owner], batches: Sequence[Batch]) -> list[_Group]:
    rows = [
        (owner, example, noise)
        for owner, batch in zip(owners, batches, strict=True)
        for example, noise in zip(batch.examples, batch.noise, strict=True)
    ]
    places: dict[torch.Size, list[int]] = {}
    for place, (_, example, _) in enumerate(rows):
        places.setdefault(example.latent.shape, []).append(place)
    return [
        _Group(
            [rows[place][0] for place in own], [rows[place][1] for place in own], [rows[place][2] for place in own],
            own, len(places) == 1,
        )
        for own in places.values()
    ]  # fmt: skip


def _errors_of(base: Base, group: _Group, times: Tensor, conditioning: Conditioning) -> Tensor:
    """The mean squared errors of a group's rows, from one call of the denoiser."""
    latents = _stacked([example.latent for example in group.examples])
    noise, times = torch.stack(group.noise), group.of(times)
    if not group.whole:
        conditioning = conditioning.rows(torch.tensor(group.places, device=latents.device))
    framings = [example.framing for example in group.examples]
    counts = {owner: group.owners.count(owner) for owner in dict.fromkeys(group.owners)}
    with base.rows(spans(counts.items())):
        predicted = base.denoise(base.process.noised(latents, noise, times), times, conditioning, framings)
    return mean_error((predicted - base.process.target(latents, noise, times)).square(), group.examples)


def _stacked(latents: Sequence[Tensor]) -> Tensor:
    """Stack latents to [R, C, H, W] in the memory format of the autoencoder's output, which convolutions then keep."""
    stacked = torch.stack(tuple(latents))
    if all(latent.stride(0) == 1 for latent in latents):
        return stacked.contiguous(memory_format=torch.channels_last)
    return stacked


def mean_error(squared: Tensor, examples: Sequence[Example]) -> Tensor:
    """The mean over channels and positions [R], from [R, C, H, W], with the positions' weights of each example."""
    if all(example.weights is None for example in examples):
        return squared.mean(dim=(1, 2, 3))
    even = torch.ones(squared.shape[2:], dtype=squared.dtype, device=squared.device)
    weights = torch.stack([even if example.weights is None else example.weights.to(even) for example in examples])
    return (squared.mean(dim=1) * weights).sum(dim=(1, 2)) / weights.sum(dim=(1, 2))
