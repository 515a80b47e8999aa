"""Watching and steering attention while a picture is sampled: edits after prompt-to-prompt, and maps of words.

Dimensions: R rows of the call, E heads, Q queries (positions of the picture), K keys (positions of the prompt, or Q).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from difflib import SequenceMatcher

import torch
import torch.nn.functional as F
from torch import Tensor

from ..base import Base, Owner
from ..errors import TriptychError, shown
from ..prompt.runs import Said

MOST_KEPT = 1024  # queries of a layer of self-attention that an edit keeps: 32 x 32
PLACING = 256  # queries of the layers that decide where an edit may change the picture: 16 x 16


@dataclass(frozen=True)
class Steered:
    """How the attention of one picture is taken over by another one (arXiv:2208.01626).

    Attributes:
        source: the place in the batch of the picture whose attention is taken.
        keep: the share of the steps, from the first, in which words that both prompts have keep their maps, and
            replaced words take the maps of those that they replace.
        keep_layout: the share of the steps in which self-attention is kept.
        columns: [K of the source, K of the edit] how maps of the source become maps of the edit.
        taken: [K of the edit], 1 where a map is taken, 0 where a word is new.
        weights: [K of the edit], the factors on the maps of words.
        only: the positions of words where the picture may change, in the source and in the edit; empty: everywhere.
    """

    source: int
    keep: float
    keep_layout: float
    columns: Tensor
    taken: Tensor
    weights: Tensor
    only: tuple[tuple[int, ...], tuple[int, ...]] = ((), ())


@dataclass
class Attending:
    """What is done with the attention of a batch of pictures; `base.denoiser.attending` calls it.

    Attributes:
        edits: place of a picture in the batch -> its edit.
        words: place of a picture -> word or words -> the positions in the prompt.
        rows: place of a picture -> the row of its prompt in the current call.
    """

    edits: dict[int, Steered] = field(default_factory=dict)
    words: dict[int, dict[str, tuple[int, ...]]] = field(default_factory=dict)
    rows: Sequence[int] = ()
    done: float = 0.0  # share of the steps
    shape: tuple[int, int] = (1, 1)  # height and width of the latents
    sums: dict[tuple[int, tuple[int, ...]], dict[int, Tensor]] = field(default_factory=dict)  # by queries of the layer
    counts: dict[tuple[int, tuple[int, ...]], dict[int, int]] = field(default_factory=dict)

    def begin(self, rows: Sequence[int], call: int, calls: int, shape: Sequence[int]) -> None:
        """State the rows of a call of the denoiser, before it."""
        self.rows, self.done, self.shape = rows, call / calls, (int(shape[-2]), int(shape[-1]))

    def wants(self, cross: bool, queries: int) -> bool:
        """Whether the probabilities of a layer are needed."""
        if cross:
            return True
        return queries <= MOST_KEPT and any(self.done < edit.keep_layout for edit in self.edits.values())

    def __call__(self, cross: bool, probabilities: Tensor) -> dict[int, Tensor]:
        """The probabilities [E, Q, K] of the rows that change, from those of all rows [R, E, Q, K]."""
        if cross:
            for place, words in self.words.items():
                for positions in words.values():
                    self._watch(place, positions, probabilities[self.rows[place]])
        changed = {}
        for place, edit in self.edits.items():
            source, own = probabilities[self.rows[edit.source]], probabilities[self.rows[place]]
            if not cross:
                if self.done < edit.keep_layout:
                    changed[self.rows[place]] = source
                continue
            if self.done < edit.keep:
                taken = edit.taken.to(own)
                own = (source @ edit.columns.to(own)) * taken + own * (1 - taken)
            changed[self.rows[place]] = own * edit.weights.to(own)
        return changed

    def _watch(self, place: int, word: tuple[int, ...], probabilities: Tensor) -> None:
        """Add the map of a word: the sum over its tokens, the mean over heads, at the size of the latents."""
        height, width = self.shape
        queries = probabilities.shape[1]
        scale = (height * width / queries) ** 0.5
        found = probabilities[..., list(word)].float().sum(-1).mean(0)
        found = found.reshape(1, 1, round(height / scale), round(width / scale))
        found = F.interpolate(found, (height, width), mode="bicubic").clamp(min=0)[0, 0]
        sums, counts = self.sums.setdefault((place, word), {}), self.counts.setdefault((place, word), {})
        sums[queries], counts[queries] = sums.get(queries, 0) + found, counts.get(queries, 0) + 1

    def map_of(self, place: int, word: tuple[int, ...]) -> Tensor:
        """The mean map of a word over layers and calls so far [height, width of the latents] (arXiv:2210.04885)."""
        sums, counts = self.sums[place, word], self.counts[place, word]
        return torch.stack(list(sums.values())).sum(0) / sum(counts.values())

    def _placing(self, place: int, word: tuple[int, ...]) -> Tensor:
        """The mean map of the layers that tell best where a word is: those nearest to 16 x 16 (arXiv:2208.01626)."""
        sums, counts = self.sums[place, word], self.counts[place, word]
        nearest = min(sums, key=lambda queries: abs(math.log(queries / PLACING)))
        return sums[nearest] / counts[nearest]

    def maps(self, place: int, words: Sequence[str]) -> dict[str, Tensor]:
        """The maps of watched words of a picture."""
        return {word: self.map_of(place, self.words[place][word]) for word in words}

    def after(self, latents: Tensor) -> Tensor:
        """The latents after a step: an edit's are its source's, outside of the words that may change."""
        for place, edit in self.edits.items():
            if any(edit.only):
                masks = [
                    self._mask(at, positions)
                    for at, positions in zip((edit.source, place), edit.only, strict=True)
                    if positions
                ]
                mask = torch.stack(masks).amax(0).to(latents)
                latents = latents.clone()
                latents[place] = torch.lerp(latents[edit.source], latents[place], mask)
        return latents

    def _mask(self, place: int, positions: tuple[int, ...]) -> Tensor:
        """Where the words are [height, width of the latents], with a position around them (arXiv:2208.01626)."""
        return F.max_pool2d(upper(self._placing(place, positions)).float()[None], 3, 1, 1)[0]


def upper(values: Tensor) -> Tensor:
    """Which values are in the upper of the two classes that differ most (Otsu 1979, IEEE Trans. SMC 9(1), eq. 18).

    A map of attention is far from 0 everywhere, and how far depends on the base, so no fixed share of its greatest
    value is where a word ends. At least the least value is in the lower class.
    """
    ordered = values.flatten().double().sort().values
    below = torch.arange(1, len(ordered), device=values.device)
    above, sums = len(ordered) - below, ordered.cumsum(0)
    gap = (sums[-1] - sums[:-1]) / above - sums[:-1] / below
    return values > ordered[(below * above * gap.square()).argmax()]


def tokens_of(base: Base, said: Said, owner: Owner = None) -> list[tuple[int, int]]:
    """The tokens of a prompt, each with its position among those that cross-attention reads."""
    text = base.texts[0]
    with base.rows({owner: slice(0, 1)}):
        (chunks,) = text.chunks([said])
    return [
        (token, number * (text.room + 2) + 1 + i)
        for number, chunk in enumerate(chunks)
        for i, token in enumerate(chunk.ids)
    ]


def positions_of(base: Base, said: Said, word: str, owner: Owner = None) -> tuple[int, ...]:
    """The positions of a word's tokens in a prompt; of all its occurrences.

    Raises:
        TriptychError: the prompt does not have the word.
    """
    tokens = tokens_of(base, said, owner)
    with base.rows({owner: slice(0, 1)}):
        (sought,) = base.texts[0].spell([word])
    ids = [token for token, _ in tokens]
    found = [
        tokens[begin + i][1]
        for begin in range(len(ids) - len(sought) + 1)
        if sought and ids[begin : begin + len(sought)] == list(sought)
        for i in range(len(sought))
    ]
    if not found:
        text = said if isinstance(said, str) else "".join(part for part, _ in said.runs)
        raise TriptychError(f"the prompt {shown(text)!r} does not have the word {word!r}")
    return tuple(found)


def aligned(source: Sequence[tuple[int, int]], edit: Sequence[tuple[int, int]], keys: int) -> tuple[Tensor, Tensor]:
    """How the maps of one prompt become those of another one.

    Words that both have keep their maps. Words in the place of others share the maps of those. New words have their
    own. What is a token of neither, such as the padding, keeps its map.

    Args:
        source, edit: tokens with their positions.
        keys: the number K of positions of both.

    Returns:
        [K, K] from source to edit, and [K]: 1 where a map is taken.
    """
    columns, taken = torch.zeros(keys, keys), torch.zeros(keys)
    for position in set(range(keys)) - {at for _, at in (*source, *edit)}:
        columns[position, position] = taken[position] = 1
    matcher = SequenceMatcher(None, [token for token, _ in source], [token for token, _ in edit], autojunk=False)
    for kind, a, b, c, d in matcher.get_opcodes():
        if kind == "equal":
            pairs = [(i, j, 1.0) for i, j in zip(range(a, b), range(c, d), strict=True)]
        elif kind == "replace":
            pairs = [(i, j, 1 / (d - c)) for i in range(a, b) for j in range(c, d)]
        else:
            pairs = []
        for i, j, share in pairs:
            columns[source[i][1], edit[j][1]] = share
            taken[edit[j][1]] = 1
    return columns, taken
