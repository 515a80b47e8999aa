"""Classifier-free guidance by any number of prompts, in one call of the denoiser a step."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from contextlib import nullcontext
from itertools import accumulate

import torch
from torch import Tensor

from ..base import Base, Conditioning, Owner, spans
from .attention import Attending
from .controls import Controls
from .request import Guide, Request, said_at
from .sharing import AWAY, PERTURBED, Sharing


class Guidance:
    """unconditional + sum of scale x weight x (conditional - unconditional) over the prompts that guide a picture.

    With one prompt of weight 1 this is classifier-free guidance (arXiv:2207.12598, equation 6 with w = scale - 1); with
    several it is composition (arXiv:2206.01714, equation 11). An owner's rows are its unconditional rows, then its
    conditional rows, then those with perturbed attention, so that they are one slice. At scale 1, with one prompt of
    weight 1 each, there are no unconditional rows. Each prompt is encoded once for all its calls.

    Attributes:
        state: of what changes the encoding of prompts; they are encoded again where it changes.
    """

    state: Hashable = ()

    def __init__(
        self, base: Base, singles: Sequence[Request], scale: float, controls: Controls,
        attending: Attending | None = None, sharing: Sharing | None = None,
    ) -> None:  # fmt: skip
        self.attending, self.sharing = attending, sharing
        self.base, self.singles, self.scale, self.controls = base, singles, scale, controls
        self.guides = [request.guides for request in singles]
        owners = dict.fromkeys(request.owner for request in singles)
        self.groups = {owner: [i for i, request in enumerate(singles) if request.owner == owner] for owner in owners}
        weights = [guide.weight for own in self.guides for guide in own]
        self.guided = scale != 1 or len(weights) > len(singles) or any(weight != 1 for weight in weights)
        self.source: list[int] = []  # of each row: the picture that it is of
        self.roles: list[int] = []  # of each row: the place of its prompt among those that guide, AWAY or PERTURBED
        self.perturbed: list[int] = []  # rows whose self-attention is perturbed
        counts: list[tuple[Owner, int]] = []
        self.prompted: dict[int, int] = {}  # a picture -> the row of its first prompt
        for owner, places in self.groups.items():
            first = len(self.source) + (len(places) if self.guided else 0)
            for i in places:
                self.prompted[i] = first
                first += len(self.guides[i])
            rows = [*(places if self.guided else ()), *(i for i in places for _ in self.guides[i])]
            self.roles += [AWAY] * len(places) if self.guided else []
            self.roles += [k for i in places for k in range(len(self.guides[i]))]
            if controls.pag:
                first = len(self.source) + len(rows)
                self.perturbed += range(first, first + len(places))
                self.roles += [PERTURBED] * len(places)
                rows += places
            counts.append((owner, len(rows)))
            self.source += rows
        self.stated = spans(counts)
        self.framings = [framing] * len(self.source) if (framing := controls.framing(base)) else None
        self.encoded: dict[Hashable, Conditioning] = {}
        self.kept: Tensor | None = None

    def begin(self, kept: Tensor | None) -> None:
        """Begin a pass.

        Args:
            kept: of each picture what a denoiser for inpainting reads beside its latents; None: all of it is masked.
        """
        self.kept = kept

    def conditioning(self, call: int, calls: int) -> Conditioning:
        """The conditioning of all rows of a call."""
        asked = []
        for owner, places in self.groups.items():
            prompts = [said_at(self.singles[i].negative, call, calls) for i in places] if self.guided else []
            prompts += [guide.at(call, calls) for i in places for guide in self.guides[i]]
            if self.perturbed:
                prompts += [self.guides[i][0].at(call, calls) for i in places]
            asked.append((owner, prompts))
        key = (self.state, *(prompt for _, own in asked for prompt in own))
        if key not in self.encoded:
            self.encoded[key] = self.base.encode_for(asked)
        return self.encoded[key]

    def __call__(self, latents: Tensor, t: Tensor, call: int, calls: int) -> Tensor:
        """The guided prediction [pictures, channels, height, width] for latents of that shape, in one of the calls."""
        rows = latents[self.source]
        conditioning = self.conditioning(call, calls)
        if self.attending:
            self.attending.begin([self.prompted[i] for i in range(len(latents))], call, calls, latents.shape)
        if self.sharing:
            self.sharing.begin(list(zip(self.source, self.roles, strict=True)), call, calls, latents.shape)
        perturbed = self.base.denoiser.perturbed(self.perturbed) if self.perturbed else nullcontext()
        with self.base.rows(self.stated), perturbed:
            times = t.expand(len(rows)).to(self.base.device)
            kept = None if self.kept is None else self.kept[self.source]
            predicted = self.base.denoise(rows, times, conditioning, self.framings, kept)
        if not self.guided and not self.perturbed:
            return predicted
        return torch.cat([self._joined(predicted[self.stated[owner]], places) for owner, places in self.groups.items()])

    def _joined(self, predicted: Tensor, places: Sequence[int]) -> Tensor:
        """The guided prediction of the pictures of one owner, from its rows."""
        guides = [self.guides[i] for i in places]
        firsts = [0, *accumulate(map(len, guides))][:-1]
        after = len(places) if self.guided else 0
        unconditional, conditional = predicted[:after], predicted[after : after + sum(map(len, guides))]
        joined = self._guided(unconditional, conditional, guides, firsts) if self.guided else conditional
        if self.perturbed:
            joined = joined + self.controls.pag * (conditional[firsts] - predicted[-len(places) :])
        if self.controls.cfg_rescale:
            joined = rescaled(joined, conditional[firsts], self.controls.cfg_rescale)
        return joined

    def _guided(
        self, unconditional: Tensor, conditional: Tensor, guides: Sequence[tuple[Guide, ...]], firsts: Sequence[int]
    ) -> Tensor:
        scale: float | Tensor = self.scale
        if any(own[0].weight != 1 for own in guides):
            weights = [self.scale * own[0].weight for own in guides]
            scale = torch.tensor(weights, dtype=conditional.dtype, device=conditional.device).reshape(-1, 1, 1, 1)
        joined = torch.lerp(unconditional, conditional[firsts], scale)
        for i, (first, own) in enumerate(zip(firsts, guides, strict=True)):
            for j, guide in enumerate(own[1:], start=first + 1):
                joined[i] += self.scale * guide.weight * (conditional[j] - unconditional[i])
        return joined


def rescaled(guided: Tensor, conditional: Tensor, share: float) -> Tensor:
    """Guidance with the standard deviation of the conditional prediction (arXiv:2305.08891, section 3.4).

    Args:
        share: how much of it; the rest is `guided` as it is.
    """
    dims = tuple(range(1, guided.dim()))
    deviation = conditional.std(dim=dims, keepdim=True) / guided.std(dim=dims, keepdim=True)
    return torch.lerp(guided, guided * deviation, share)
