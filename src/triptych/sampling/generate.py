"""Sampling with classifier-free guidance: one generator per picture, artifacts of several owners in one batch."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ..base import Base, Sampling, generator
from ..base.text import skipping
from ..errors import TriptychError
from .controls import Controls
from .edits import attending_to, with_sources
from .guidance import Guidance
from .moves import Move, moving
from .noise import noise_of
from .passes import Pass, enlarged
from .preview import Watching
from .regions import Regional
from .request import Request
from .samplers import sampler_named
from .sharing import batches, sharing_of

if TYPE_CHECKING:
    from PIL.Image import Image

GREATEST_GUIDANCE = 100.0
PLAIN = Controls()
Heated = Callable[[int, dict[str, Tensor]], None]


def settings_for(base: Base, **changes: str | int | float | None) -> Sampling:
    """The base's own sampling settings, with some changed.

    Raises:
        TriptychError: the sampler is unknown, or a number is out of range.
    """
    sampling = replace(base.description.sampling, **{k: v for k, v in changes.items() if v is not None})  # type: ignore[arg-type]
    sampling = replace(sampling, sampler=sampler_named(sampling.sampler))
    most = base.process.length
    if not 1 <= sampling.steps <= most:
        raise TriptychError(f"pictures take 1 to {most} steps, not {sampling.steps}")
    if not 0 <= sampling.guidance <= GREATEST_GUIDANCE:
        raise TriptychError(f"guidance is a number from 0 to {GREATEST_GUIDANCE:g}, not {sampling.guidance}")
    return sampling


def sample(
    base: Base, requests: Sequence[Request], sampling: Sampling | None = None,
    done: Callable[[int], None] | None = None, controls: Controls = PLAIN,
) -> list[list[Image]]:  # fmt: skip
    """Sample the pictures of each request. `done` is called with 1 after each picture."""
    places = [(i, j) for i, request in enumerate(requests) for j in range(len(request.seeds))]
    pictures: dict[tuple[int, int], Image] = {}
    for place, picture in stream(base, requests, sampling, controls):
        pictures[places[place]] = picture
        if done:
            done(1)
    return [[pictures[i, j] for j in range(len(request.seeds))] for i, request in enumerate(requests)]


def stream(
    base: Base, requests: Sequence[Request], sampling: Sampling | None = None, controls: Controls = PLAIN,
    moves: Sequence[Move] = (), heated: Heated | None = None, watching: Watching | None = None,
) -> Iterator[tuple[int, Image]]:  # fmt: skip
    """Sample pictures and yield each with its index among all pictures requested, as its batch ends.

    A batch has `sampling.batch` pictures. A picture depends on its own seed alone, not on its batch, unless it shares
    self-attention: then it depends on the anchors of its set, which are in all batches of the set. `heated` is called
    with the index of a picture and the maps of its words, before it is yielded. `watching` sees pictures by the same
    indices, after steps.
    """
    sampling = sampling or base.description.sampling
    singles = [single for request in requests for single in request.singles]
    order = sorted(range(len(singles)), key=lambda i: str(singles[i].owner))  # an owner's rows must be adjacent
    for batch, new in batches(singles, order, sampling.batch):
        hot = (lambda k, maps, batch=batch: heated(batch[k], maps)) if heated else None
        shown = replace(watching, places=[i if i in new else None for i in batch]) if watching else None
        latents = sample_latents(base, [singles[i] for i in batch], sampling, controls, moves, hot, shown)
        asked = [batch.index(i) for i in new]
        for i, picture in zip(new, base.decode(latents[asked], controls.tiled), strict=True):
            start = singles[i].start
            yield i, start.finished(picture) if start else picture


@torch.no_grad()
def sample_latents(
    base: Base, singles: Sequence[Request], sampling: Sampling, controls: Controls = PLAIN, moves: Sequence[Move] = (),
    heated: Heated | None = None, watching: Watching | None = None,
) -> Tensor:  # fmt: skip
    """Sample latents [pictures, channels, height, width] for requests of one seed each, sorted by owner.

    Args:
        moves: open patches whose strength changes over the steps.
        heated: is called with the index of a picture and the maps of its words [height, width of the latents].
        watching: sees the pictures after steps, each by its own index.
    """
    asked = singles
    singles, edited, wanted = with_sources(singles)
    randoms = [generator("draw", request.seeds[0]) for request in singles]
    noise = _noise(base, singles, controls, randoms)
    watching = watching.among(wanted, len(singles)) if watching else None
    with ExitStack() as open_:
        if controls.freeu:
            open_.enter_context(base.denoiser.freeu(controls.freeu_scales))
        open_.enter_context(skipping(base.texts, controls.clip_skip - 1))
        strengths = open_.enter_context(moving(moves, sampling.steps))
        attending = attending_to(base, singles, edited)
        sharing, attending = sharing_of(base, singles, attending)
        if (attending or sharing) and (controls.hires or controls.shrink):
            raise TriptychError(
                "edits, maps of words and shared self-attention go neither with a second pass at another size nor with"
                " shrink"
            )
        if sharing:
            open_.enter_context(base.denoiser.extended(sharing))
        if attending:
            open_.enter_context(base.denoiser.attending(attending))
        guide: Guidance | Regional
        if any(single.regions for single in singles):
            guide = Regional(base, singles, sampling.guidance, controls)
        else:
            guide = Guidance(base, singles, sampling.guidance, controls, attending, sharing)
        pass_ = Pass(
            base, sampling, guide, strengths, randoms, attending, watching, controls.tiled, controls.larger(base),
            controls.shrink,
        )  # fmt: skip
        latents = pass_(noise, [request.start for request in singles], controls.denoise)
        if controls.hires:
            latents = _larger(pass_, latents, controls)
    if attending and heated:
        for i in range(len(asked)):
            if asked[i].heat:
                heated(i, attending.maps(wanted[i], asked[i].heat))
    return latents[wanted]


def _larger(first: Pass, latents: Tensor, controls: Controls) -> Tensor:
    """The latents of a second pass, at another size."""
    base = first.base
    larger = enlarged(base, latents, controls.hires_shape(base), controls.hires_by, controls.tiled)
    noise = torch.stack([torch.randn(larger.shape[1:], generator=random) for random in first.randoms])
    shrink = controls.hires * (first.shrink if controls.shrink else 1)
    second = replace(first, shrink=shrink, shrink_until=controls.hires_shrink)
    return second.over(larger, noise.to(base.device), controls.hires_denoise)


def _noise(base: Base, singles: Sequence[Request], controls: Controls, randoms: Sequence[torch.Generator]) -> Tensor:
    """The noise of each picture [pictures, channels, height, width]."""
    shape, resized = controls.latent_shape(base), controls.resized_shape(base)
    share = controls.variation_strength
    drawn = [
        noise_of(random, request.seeds[0], shape, next(iter(request.variations), None), share, resized)
        for request, random in zip(singles, randoms, strict=True)
    ]
    return torch.stack(drawn).to(base.device)
