"""Drawing with classifier-free guidance: one generator a picture, several owners' artifacts in one batch."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ..base import Base, Drawing, Owner, generator, spans
from ..base.sampler import Sampler
from ..errors import TriptychError
from .samplers import SAMPLERS, sampler_named

if TYPE_CHECKING:
    from PIL.Image import Image

GREATEST_GUIDANCE = 100.0


@dataclass(frozen=True)
class Request:
    """One prompt and the seeds of its pictures, for one owner."""

    prompt: str
    seeds: tuple[int, ...]
    owner: Owner = None
    negative: str = ""


def settings_for(base: Base, **changes: str | int | float | None) -> Drawing:
    """The base's own way of drawing, with what is given changed.

    Raises:
        TriptychError: an unknown sampler, or a number out of range.
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
    """A fresh sampler of this kind for the base's noise process, set to the number of steps.

    Raises:
        TriptychError: it cannot sample that process.
    """
    named = SAMPLERS[sampler_named(drawing.sampler)]
    return base.process.sampler(named.scheduler, named.options, drawing.steps, base.device)


def draw(
    base: Base, requests: Sequence[Request], drawing: Drawing | None = None, done: Callable[[int], None] | None = None
) -> list[list[Image]]:
    """The pictures of each request; `done` is called with 1 as each of them is there."""
    places = [(i, j) for i, request in enumerate(requests) for j in range(len(request.seeds))]
    pictures: dict[tuple[int, int], Image] = {}
    for place, picture in stream(base, requests, drawing):
        pictures[places[place]] = picture
        if done:
            done(1)
    return [[pictures[i, j] for j in range(len(request.seeds))] for i, request in enumerate(requests)]


def stream(base: Base, requests: Sequence[Request], drawing: Drawing | None = None) -> Iterator[tuple[int, Image]]:
    """Each picture as its batch of `drawing.batch` ends, with its place among all that are asked for, in their order.

    A picture depends on its own seed alone, whatever the batch.
    """
    drawing = drawing or base.description.drawing
    singles = [replace(request, seeds=(seed,)) for request in requests for seed in request.seeds]
    order = sorted(range(len(singles)), key=lambda i: str(singles[i].owner))  # an owner's rows lie side by side
    for first in range(0, len(order), drawing.batch):
        batch = order[first : first + drawing.batch]
        yield from zip(batch, base.decode(sample(base, [singles[i] for i in batch], drawing)), strict=True)


@torch.no_grad()
def sample(base: Base, singles: Sequence[Request], drawing: Drawing) -> Tensor:
    """Latents [pictures, channels, height, width] for requests of one seed each, those of one owner side by side."""
    randoms = [generator("draw", request.seeds[0]) for request in singles]
    noise = [torch.randn(base.latent_shape, generator=random) for random in randoms]
    sampler = sampler_for(base, drawing)
    latents = sampler.first(torch.stack(noise).to(base.device))
    guide = _Guidance(base, singles, drawing.guidance)
    for t in sampler.times:
        predicted = guide(sampler.scaled(latents, t), t)
        latents = sampler.step(predicted, t, latents, randoms)
    return latents


class _Guidance:
    """Classifier-free guidance (arXiv:2207.12598): unconditional + scale x (conditional - unconditional).

    The rows of an owner are its unconditional ones, then its conditional ones, so that one slice holds them. At scale 1
    the unconditional ones are left out.
    """

    def __init__(self, base: Base, singles: Sequence[Request], scale: float) -> None:
        self.base, self.scale = base, scale
        owners = dict.fromkeys(request.owner for request in singles)
        self.groups = {owner: [i for i, request in enumerate(singles) if request.owner == owner] for owner in owners}
        self.halves = 1 if scale == 1 else 2
        asked = []
        for owner, places in self.groups.items():
            negatives = [singles[i].negative for i in places] if self.halves == 2 else []
            asked.append((owner, negatives + [singles[i].prompt for i in places]))
        self.stated = spans((owner, len(prompts)) for owner, prompts in asked)
        self.context = base.encode_for(asked)

    def __call__(self, latents: Tensor, t: Tensor) -> Tensor:
        rows = torch.cat([latents[places] for places in self.groups.values() for _ in range(self.halves)])
        with self.base.rows(self.stated):
            predicted = self.base.denoise(rows, t.expand(len(rows)).to(self.base.device), self.context)
        if self.halves == 1:
            return predicted
        guided = []
        for stated in self.stated.values():
            unconditional, conditional = predicted[stated].chunk(2)
            guided.append(torch.lerp(unconditional, conditional, self.scale))
        return torch.cat(guided)
