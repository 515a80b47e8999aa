"""Pictures of a set share self-attention, so that what they show stays the same (ConsiStory, arXiv:2402.03286).

Dimensions: H height and W width of the latents, Q queries (positions of a picture in a layer).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor

from ..base import Base, generator
from ..errors import TriptychError
from .attention import Attending, positions_of, upper
from .request import Request, Share

AWAY, PERTURBED = -1, -2  # roles of rows that no prompt guides: unconditional, and with perturbed attention
Role = tuple[int, int]  # of a row: the place of its picture in the batch, and its role


@dataclass
class Sharing:
    """Which rows read which others in self-attention; `base.denoiser.extended` asks it.

    A picture reads the anchors of its set, inside the mask of the subject: where the attention to its word, as the mean
    of all calls before, is above Otsu's threshold. Rows of a role read those of the same role.

    Attributes:
        singles: the pictures of the batch.
        words: place of a picture -> the positions of its subject in the prompt; without an entry it is all shared.
        attending: has the maps of the words; None if there are no words.
    """

    singles: Sequence[Request]
    words: Mapping[int, tuple[int, ...]]
    attending: Attending | None
    rows: Sequence[Role] = ()
    call: int = 0
    done: float = 0.0  # share of the steps
    shape: tuple[int, int] = (1, 1)
    masks: dict[int, Tensor] = field(default_factory=dict)  # place -> [H, W] of this call
    known: dict[int, dict[int, tuple[list[int], Tensor]]] = field(default_factory=dict)  # Q -> what is read

    def begin(self, rows: Sequence[Role], call: int, calls: int, shape: Sequence[int]) -> None:
        """State the rows of a call of the denoiser, before it."""
        self.rows, self.call, self.done, self.known = rows, call, call / calls, {}
        self.shape = (int(shape[-2]), int(shape[-1]))
        self.masks = {i: mask for i in range(len(self.singles)) if (mask := self._mask(i)) is not None}

    def reads(self, queries: int) -> Mapping[int, tuple[Sequence[int], Tensor]]:
        """Row -> the rows that it reads, and what is added to the scores of their positions [rows x Q]."""
        if queries not in self.known:
            scores = {i: self._scores(i, queries) for i in self.masks}
            found = {}
            for row, (place, role) in enumerate(self.rows):
                others = self._others(place)
                if others:
                    rows = [self._row(other, role) for other in others]
                    strength = self._share(place).strength
                    found[row] = (rows, torch.cat([scores[other] for other in others]) + math.log(strength))
            self.known[queries] = found
        return self.known[queries]

    def _others(self, place: int) -> list[int]:
        """The pictures that a picture reads now."""
        share, number = self._share(place), self.singles[place].number
        if not share.strength or self.done >= share.until:
            return []
        return [
            other
            for other in self.masks
            if other != place and self._share(other).anchor and self.singles[other].number == number
        ]

    def _row(self, place: int, role: int) -> int:
        """The row of a picture in a role; that of its first prompt where it has no such row."""
        rows = list(self.rows)
        return rows.index((place, role)) if (place, role) in rows else rows.index((place, 0))

    def _share(self, place: int) -> Share:
        return self.singles[place].share or Share(strength=0, anchor=False)

    def _mask(self, place: int) -> Tensor | None:
        """Where a picture can be read [H, W]; None before there is a map of its subject."""
        if place not in self.words or self.attending is None:
            return torch.ones(self.shape, dtype=torch.bool)
        if (place, self.words[place]) not in self.attending.counts:
            return None
        return subject_in(self.attending.map_of(place, self.words[place]))

    def _scores(self, place: int, queries: int) -> Tensor:
        """0 where a picture is read in this call, -inf elsewhere [Q]."""
        height, width = self.shape
        scale = (height * width / queries) ** 0.5
        small = F.adaptive_max_pool2d(
            self.masks[place][None].float(), (round(height / scale), round(width / scale))
        ).flatten()
        random = generator("share", self.singles[place].seeds[0], self.call, queries)
        kept = torch.rand(queries, generator=random) >= self._share(place).dropout
        read = (small > 0) & kept
        return torch.zeros(queries).masked_fill(~read, -math.inf)


def sharing_of(
    base: Base, singles: Sequence[Request], attending: Attending | None
) -> tuple[Sharing | None, Attending | None]:
    """How the pictures of a batch share self-attention, and what watches the words of their subjects.

    The subject of a prompt that changes over the steps cannot be watched, so its picture is shared as a whole.

    Raises:
        TriptychError: a prompt does not have the word, or pictures have edits or regions.
    """
    sharing = [i for i, single in enumerate(singles) if single.share and single.share.strength]
    if not sharing:
        return None, attending
    if any(single.edit or single.regions for single in singles) or (attending and attending.edits):
        raise TriptychError("shared self-attention goes neither with edits nor with regions")
    words: dict[int, tuple[int, ...]] = {}
    for i in sharing:
        share, first = singles[i].share, singles[i].guides[0]
        if share and share.subject and not callable(first.prompt):
            words[i] = positions_of(base, first.prompt, share.subject, singles[i].owner)
            attending = attending or Attending()
            attending.words.setdefault(i, {})[share.subject] = words[i]
    return Sharing(singles, words, attending), attending


def subject_in(found: Tensor) -> Tensor:
    """Where a map of attention [H, W] is above Otsu's threshold, booleans [H, W] on the CPU."""
    return upper(found.detach().cpu())


def batches(
    singles: Sequence[Request], order: Sequence[int], size: int
) -> Iterator[tuple[Sequence[int], Sequence[int]]]:
    """Batches of pictures in an order, and those of each that are new. The anchors of a set are in all its batches."""
    alone = [i for i in order if not singles[i].share]
    yield from ((part, part) for part in _parts(alone, size))
    shared = [i for i in order if singles[i].share]
    for number in dict.fromkeys(singles[i].number for i in shared):
        own = [i for i in shared if singles[i].number == number]
        anchors = [i for i in own if (share := singles[i].share) and share.anchor]
        rest = [i for i in own if i not in anchors]
        new = set(anchors)
        for part in _parts(rest, max(size - len(anchors), 1)) or [[]]:
            new |= set(part)
            batch = [i for i in own if i in anchors or i in part]
            yield batch, [i for i in batch if i in new]
            new = set()


def _parts(places: Sequence[int], size: int) -> list[Sequence[int]]:
    return [places[first : first + size] for first in range(0, len(places), size)]
