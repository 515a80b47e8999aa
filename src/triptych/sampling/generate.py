"""Sampling with classifier-free guidance: one generator per picture, artifacts of several owners in one batch."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ..base import Base, Conditioning, Drawing, Owner, generator, spans
from ..base.sampler import Sampler
from ..cancel import check
from ..errors import TriptychError
from .samplers import SAMPLERS, sampler_named

if TYPE_CHECKING:
    from PIL.Image import Image

GREATEST_GUIDANCE = 100.0


@dataclass(frozen=True)
class Schedule:
    """A prompt that changes while a picture is sampled.

    Attributes:
        turns: pairs of the share of the steps (0 to 1) at which a prompt begins, and the prompt. The first begins at 0.
    """

    turns: tuple[tuple[float, str], ...]

    def __call__(self, step: int, steps: int) -> str:
        return [prompt for begins, prompt in self.turns if begins * steps <= step][-1]


Prompt = str | Callable[[int, int], str]  # one prompt for all steps, or a function of step and steps


@dataclass(frozen=True)
class Request:
    """One prompt and the seeds of its pictures, for one owner."""

    prompt: Prompt
    seeds: tuple[int, ...]
    owner: Owner = None
    negative: Prompt = ""


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
    """Sample latents [pictures, channels, height, width] for requests of one seed each, sorted by owner.

    Raises:
        Cancelled: the token of this call is set; checked before each step.
    """
    randoms = [generator("draw", request.seeds[0]) for request in singles]
    noise = [torch.randn(base.latent_shape, generator=random) for random in randoms]
    sampler = sampler_for(base, drawing)
    latents = sampler.first(torch.stack(noise).to(base.device))
    guide = _Guidance(base, singles, drawing.guidance, len(sampler.times))
    for step, t in enumerate(sampler.times):
        check()
        predicted = guide(sampler.scaled(latents, t), t, step)
        latents = sampler.step(predicted, t, latents, randoms)
    return latents


class _Guidance:
    """Classifier-free guidance (arXiv:2207.12598): unconditional + scale x (conditional - unconditional).

    The paper's equation 6 is the same with w = scale - 1. An owner's rows are its unconditional rows, then its
    conditional rows, so that they are one slice. At scale 1 there are no unconditional rows. Each prompt is encoded
    once for all its steps.
    """

    def __init__(self, base: Base, singles: Sequence[Request], scale: float, steps: int) -> None:
        self.base, self.singles, self.scale, self.steps = base, singles, scale, steps
        owners = dict.fromkeys(request.owner for request in singles)
        self.groups = {owner: [i for i, request in enumerate(singles) if request.owner == owner] for owner in owners}
        self.halves = 1 if scale == 1 else 2
        self.stated = spans((owner, self.halves * len(places)) for owner, places in self.groups.items())
        self.encoded: dict[tuple[str, ...], Conditioning] = {}

    def conditioning(self, step: int) -> Conditioning:
        """The conditioning of all rows at a step."""
        asked = []
        for owner, places in self.groups.items():
            negatives = [self._at(self.singles[i].negative, step) for i in places] if self.halves == 2 else []
            asked.append((owner, negatives + [self._at(self.singles[i].prompt, step) for i in places]))
        prompts = tuple(prompt for _, own in asked for prompt in own)
        if prompts not in self.encoded:
            self.encoded[prompts] = self.base.encode_for(asked)
        return self.encoded[prompts]

    def _at(self, prompt: Prompt, step: int) -> str:
        return prompt if isinstance(prompt, str) else prompt(step, self.steps)

    def __call__(self, latents: Tensor, t: Tensor, step: int) -> Tensor:
        rows = torch.cat([latents[places] for places in self.groups.values() for _ in range(self.halves)])
        conditioning = self.conditioning(step)
        with self.base.rows(self.stated):
            predicted = self.base.denoise(rows, t.expand(len(rows)).to(self.base.device), conditioning)
        if self.halves == 1:
            return predicted
        guided = []
        for stated in self.stated.values():
            unconditional, conditional = predicted[stated].chunk(2)
            guided.append(torch.lerp(unconditional, conditional, self.scale))
        return torch.cat(guided)
