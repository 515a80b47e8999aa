"""Classifier-free guidance by any number of prompts, in one call of the denoiser a step."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate

import torch
from torch import Tensor

from ..base import Base, Conditioning, Owner, spans
from ..prompt.runs import Said
from .request import Request, said_at


class Guidance:
    """unconditional + sum of scale x weight x (conditional - unconditional) over the prompts that guide a picture.

    With one prompt of weight 1 this is classifier-free guidance (arXiv:2207.12598, equation 6 with w = scale - 1); with
    several it is composition (arXiv:2206.01714, equation 11). An owner's rows are its unconditional rows, then its
    conditional rows, so that they are one slice. At scale 1, with one prompt of weight 1 each, there are no
    unconditional rows. Each prompt is encoded once for all its calls.

    Args:
        calls: how often the denoiser is called.
    """

    def __init__(self, base: Base, singles: Sequence[Request], scale: float, calls: int) -> None:
        self.base, self.singles, self.scale, self.calls = base, singles, scale, calls
        self.guides = [request.guides for request in singles]
        owners = dict.fromkeys(request.owner for request in singles)
        self.groups = {owner: [i for i, request in enumerate(singles) if request.owner == owner] for owner in owners}
        weights = [guide.weight for own in self.guides for guide in own]
        self.guided = scale != 1 or len(weights) > len(singles) or any(weight != 1 for weight in weights)
        self.source: list[int] = []  # of each row: the picture that it is of
        counts: list[tuple[Owner, int]] = []
        for owner, places in self.groups.items():
            rows = [*(places if self.guided else ()), *(i for i in places for _ in self.guides[i])]
            counts.append((owner, len(rows)))
            self.source += rows
        self.stated = spans(counts)
        self.encoded: dict[tuple[Said, ...], Conditioning] = {}

    def conditioning(self, call: int) -> Conditioning:
        """The conditioning of all rows of a call."""
        asked = []
        for owner, places in self.groups.items():
            negatives = [said_at(self.singles[i].negative, call, self.calls) for i in places] if self.guided else []
            asked.append(
                (owner, [*negatives, *(guide.at(call, self.calls) for i in places for guide in self.guides[i])])
            )
        prompts = tuple(prompt for _, own in asked for prompt in own)
        if prompts not in self.encoded:
            self.encoded[prompts] = self.base.encode_for(asked)
        return self.encoded[prompts]

    def __call__(self, latents: Tensor, t: Tensor, call: int) -> Tensor:
        """The guided prediction [pictures, channels, height, width] for latents of that shape."""
        rows = latents[self.source]
        conditioning = self.conditioning(call)
        with self.base.rows(self.stated):
            predicted = self.base.denoise(rows, t.expand(len(rows)).to(self.base.device), conditioning)
        if not self.guided:
            return predicted
        return torch.cat([self._joined(predicted[self.stated[owner]], places) for owner, places in self.groups.items()])

    def _joined(self, predicted: Tensor, places: Sequence[int]) -> Tensor:
        """The guided prediction of the pictures of one owner, from its rows."""
        unconditional, conditional = predicted[: len(places)], predicted[len(places) :]
        guides = [self.guides[i] for i in places]
        firsts = [0, *accumulate(map(len, guides))][:-1]
        scale: float | Tensor = self.scale
        if any(own[0].weight != 1 for own in guides):
            weights = [self.scale * own[0].weight for own in guides]
            scale = torch.tensor(weights, dtype=predicted.dtype, device=predicted.device).reshape(-1, 1, 1, 1)
        joined = torch.lerp(unconditional, conditional[firsts], scale)
        for i, (first, own) in enumerate(zip(firsts, guides, strict=True)):
            for j, guide in enumerate(own[1:], start=first + 1):
                joined[i] += self.scale * guide.weight * (conditional[j] - unconditional[i])
        return joined
