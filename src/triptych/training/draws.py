"""The random draws of a step: pictures, noise, times, dropped captions. They depend on the seed and the step alone."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain

import torch
from torch import Tensor

from ..base import Process, generator
from ..data.examples import Batch, Source
from ..methods import Training

EMPTY = ""  # the prompt of a row whose caption is dropped


def draw(sources: Sequence[Source], training: Training, seed: int, step: int, process: Process) -> Batch:
    """Draw the rows of a step from all sources. Methods and jobs with the same seed have the same draws."""
    drawn = [draw_rows(source, seed, step, process) for source in sources]
    if training.noise_offset:
        drawn = [
            _with_offset(batch, source, training.noise_offset, seed, step) for batch, source in _pairs(drawn, sources)
        ]
    if training.drop_captions:
        drawn = [
            _dropped(batch, source, training.drop_captions, seed, step) for batch, source in _pairs(drawn, sources)
        ]
    return Batch(
        list(chain(*(batch.examples for batch in drawn))), list(chain(*(batch.noise for batch in drawn))),
        torch.cat([batch.times for batch in drawn]), list(chain(*(batch.prompts for batch in drawn))),
    )  # fmt: skip


def _pairs(drawn: Sequence[Batch], sources: Sequence[Source]) -> list[tuple[Batch, Source]]:
    return list(zip(drawn, sources, strict=True))


def draw_rows(source: Source, seed: int, step: int, process: Process) -> Batch:
    """Draw the rows of a source at a step: pictures in shuffled epochs, new noise, times by the noise process."""
    count, first = len(source.examples), step * source.batch
    orders: dict[int, list[int]] = {}
    chosen = []
    for place in range(first, first + source.batch):
        epoch, position = divmod(place, count)
        if epoch not in orders:
            random = generator("order", source.purpose, seed, epoch)
            orders[epoch] = torch.randperm(count, generator=random).tolist()
        chosen.append(orders[epoch][position])
    random = generator("train", source.purpose, seed, step)
    rows = [source.examples[i] for i in chosen]
    first_latent = rows[0].latent
    sizes = [row.latent.numel() for row in rows]
    drawn = torch.randn(sum(sizes), generator=random, dtype=first_latent.dtype).to(first_latent.device).split(sizes)
    noise = [part.view(row.latent.shape) for part, row in zip(drawn, rows, strict=True)]
    times = process.times(source.batch, random).to(first_latent.device)
    return Batch(rows, noise, times, [source.prompts[i] for i in chosen])


def _with_offset(batch: Batch, source: Source, offset: float, seed: int, step: int) -> Batch:
    """Add a random shift to each channel of the noise, so that a picture's mean brightness is learned too."""
    random = generator("offset", source.purpose, seed, step)
    noise: list[Tensor] = []
    for each in batch.noise:
        shift = torch.randn(len(each), 1, 1, generator=random, dtype=each.dtype).to(each.device)
        noise.append(each + offset * shift)
    return Batch(batch.examples, noise, batch.times, batch.prompts)


def _dropped(batch: Batch, source: Source, share: float, seed: int, step: int) -> Batch:
    """Give a share of the rows the empty prompt, which classifier-free guidance takes away from."""
    random = generator("drop", source.purpose, seed, step)
    empty = (torch.rand(len(batch), generator=random) < share).tolist()
    prompts = [EMPTY if drop else prompt for drop, prompt in zip(empty, batch.prompts, strict=True)]
    return Batch(batch.examples, batch.noise, batch.times, prompts)
