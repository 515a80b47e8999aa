"""Sampling with classifier-free guidance: one generator per picture, artifacts of several owners in one batch."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ..base import Base, Drawing, generator
from ..base.sampler import Sampler
from ..errors import TriptychError
from .guidance import Guidance
from .request import Request
from .samplers import SAMPLERS, sampler_named

if TYPE_CHECKING:
    from PIL.Image import Image

GREATEST_GUIDANCE = 100.0


def settings_for(base: Base, **changes: str | int | float | None) -> Drawing:
    """The base's own sampling settings, with some changed.

    Raises:
        TriptychError: the sampler is unknown, or a number is out of range.
    """
    drawing = replace(base.description.drawing, **{k: v for k, v in changes.items() if v is not None})  # type: ignore[arg-type]
    drawing = replace(drawing, sampler=sampler_named(drawing.sampler))
    most = base.process.length
    if not 1 <= drawing.steps <= most:
        raise TriptychError(f"pictures take 1 to {most} steps, not {drawing.steps}")
    if not 0 <= drawing.guidance <= GREATEST_GUIDANCE:
        raise TriptychError(f"guidance is a number from 0 to {GREATEST_GUIDANCE:g}, not {drawing.guidance}")
    return drawing


def sampler_for(base: Base, drawing: Drawing) -> Sampler:
    """A new sampler of this kind for the base's noise process, with its number of steps set.

    Raises:
        TriptychError: the sampler cannot sample that process.
    """
    named = SAMPLERS[sampler_named(drawing.sampler)]
    return base.process.sampler(named.scheduler, named.options, drawing.steps, base.device)


def draw(
    base: Base, requests: Sequence[Request], drawing: Drawing | None = None, done: Callable[[int], None] | None = None
) -> list[list[Image]]:
    """Sample the pictures of each request. `done` is called with 1 after each picture."""
    places = [(i, j) for i, request in enumerate(requests) for j in range(len(request.seeds))]
    pictures: dict[tuple[int, int], Image] = {}
    for place, picture in stream(base, requests, drawing):
        pictures[places[place]] = picture
        if done:
            done(1)
    return [[pictures[i, j] for j in range(len(request.seeds))] for i, request in enumerate(requests)]


def stream(base: Base, requests: Sequence[Request], drawing: Drawing | None = None) -> Iterator[tuple[int, Image]]:
    """Sample pictures and yield each with its index among all pictures requested, as its batch ends.

    A batch has `drawing.batch` pictures. A picture depends on its own seed alone, not on its batch.
    """
    drawing = drawing or base.description.drawing
    singles = [replace(request, seeds=(seed,)) for request in requests for seed in request.seeds]
    order = sorted(range(len(singles)), key=lambda i: str(singles[i].owner))  # an owner's rows must be adjacent
    for first in range(0, len(order), drawing.batch):
        batch = order[first : first + drawing.batch]
        yield from zip(batch, base.decode(sample(base, [singles[i] for i in batch], drawing)), strict=True)


@torch.no_grad()
def sample(base: Base, singles: Sequence[Request], drawing: Drawing) -> Tensor:
    """Sample latents [pictures, channels, height, width] for requests of one seed each, sorted by owner."""
    randoms = [generator("draw", request.seeds[0]) for request in singles]
    noise = [torch.randn(base.latent_shape, generator=random) for random in randoms]
    sampler = sampler_for(base, drawing)
    latents = sampler.first(torch.stack(noise).to(base.device))
    guide = Guidance(base, singles, drawing.guidance, len(sampler.times))
    for call, t in enumerate(sampler.times):
        predicted = guide(sampler.scaled(latents, t), t, call)
        latents = sampler.step(predicted, t, latents, randoms)
    return latents
