"""How a mix responds: the guided prediction under it, held against that under one of its files alone.

On a fixed batch of the file's own pictures, with e the guided prediction (arXiv:2207.12598, equation 6) and
d = e - e(class word on the bare base),

    along = <d(mix), d(alone)> / |d(alone)|^2,    across = |d(mix) - along d(alone)| / |d(alone)|,
    distance = |d(mix) - d(alone)| / |d(alone)|.

It takes one call of the denoiser for a mix and a file, where the pictures of a retention take hundreds.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from math import hypot

import torch
from torch import Tensor

from ..base import Base
from ..exchange.artifact import compose, with_words
from ..exchange.formats import open_artifact
from ..study.point import Use
from ..study.work import Work
from ..training.fixed_loss import fixed_batch


@dataclass(frozen=True)
class Response:
    """What of a file's own effect is in a mix, and what else is.

    Attributes:
        along: 1 for the file alone, 0 for the class word on the bare base.
        across: 0 for both of them; in units of the file's own effect.
    """

    along: float
    across: float

    @property
    def distance(self) -> float:
        """From the file alone: 0 for it, 1 for the class word on the bare base."""
        return hypot(1 - self.along, self.across)


@dataclass(frozen=True)
class Probe:
    """A fixed batch of R rows of one concept, and what its file alone does to them.

    Attributes:
        noisy: latents [R, channels, height, width].
        times: [R].
        prompts: R captions, with the phrase that calls the concept.
        bare: the guided prediction of the class word on the bare base, of the shape of `noisy`.
        own: what the file alone adds to it.
    """

    base: Base
    noisy: Tensor
    times: Tensor
    prompts: Sequence[str]
    bare: Tensor
    own: Tensor

    @classmethod
    def of(cls, work: Work, phrase: str, alone: Sequence[Use]) -> Probe:
        """The probe of a concept, whose prompts call it by `phrase` where the file `alone` is attached."""
        examples = work.examples(tuple(range(len(work.concept.pictures))), varied=False)
        process = work.base.process
        bare, called = (fixed_batch([(examples, word)], process) for word in (work.concept.class_word, phrase))
        clean = torch.stack([example.latent for example in called.examples])
        noisy = process.noised(clean, torch.stack(tuple(called.noise)), called.times)
        before = _guided(work.base, noisy, called.times, bare.prompts)
        with attached_to(work.base, alone):
            after = _guided(work.base, noisy, called.times, called.prompts)
        return cls(work.base, noisy, called.times, called.prompts, before, after - before)

    def response(self) -> Response:
        """The response of what is attached now."""
        mixed = _guided(self.base, self.noisy, self.times, self.prompts) - self.bare
        size = self.own.square().sum()
        along = (mixed * self.own).sum() / size
        across = (mixed - along * self.own).square().sum() / size
        return Response(float(along), float(across) ** 0.5)


@contextmanager
def attached_to(base: Base, uses: Sequence[Use]) -> Iterator[None]:
    """Attach files for the length of a `with` block."""
    parts = [part for use in uses for part in with_words(open_artifact(use.path), use.strength)]
    with compose(base, *parts):
        yield


@torch.no_grad()
def _guided(base: Base, noisy: Tensor, times: Tensor, prompts: Sequence[str]) -> Tensor:
    """The guided prediction [R, channels, height, width], at the base's own scale of guidance."""
    conditioning = base.encode_for([(None, [*[""] * len(prompts), *prompts])])
    predicted = base.denoise(torch.cat([noisy, noisy]), torch.cat([times, times]), conditioning)
    unconditional, conditional = predicted.chunk(2)
    return torch.lerp(unconditional, conditional, base.description.sampling.guidance)
