"""How a base reads prompts: by text encoders with their tokenizers, one for Stable Diffusion 1 and 2, two for SDXL."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from .rows import Rows


class Encoded(NamedTuple):
    """Prompts as one text encoder reads them.

    Attributes:
        hidden: [prompts, positions, width].
        end: the state at the end of each prompt [prompts, width], of the last layer, normed. Of a prompt in several
            chunks it is the end of the first.
        mask: [prompts, positions], true where a position is part of the prompt. None: everywhere.
    """

    hidden: Tensor
    end: Tensor
    mask: Tensor | None = None


@dataclass
class Text:
    """A tokenizer and the text encoder that reads its ids.

    `spell` gives the token ids of prompts without start and end; it is a field, so that a patch may swap it.
    """

    name: str  # as diffusers calls it: text_encoder, text_encoder_2
    tokenizer: Any  # of transformers
    encoder: Any  # of transformers: a CLIP text encoder
    embedding: str = (
        "emb_params"  # what an embedding's rows for this side are called in files: SDXL has clip_l and clip_g
    )
    penultimate: bool = (
        False  # the denoiser reads the states before the last layer, as SDXL's does, without the last norm
    )
    most_chunks: int = 1  # a longer prompt is cut
    rows: Rows = field(default_factory=Rows)  # the base's
    room: int = 0  # how many tokens of a prompt the encoder reads at once; 0: its positions less start and end
    spell: Callable[[Sequence[str]], list[list[int]]] = field(init=False)

    def __post_init__(self) -> None:
        self.spell = self._spell
        self.room = self.room or int(self.encoder.config.max_position_embeddings) - 2

    def _spell(self, prompts: Sequence[str]) -> list[list[int]]:
        return [list(ids) for ids in self.tokenizer(list(prompts), add_special_tokens=False).input_ids]

    @property
    def width(self) -> int:
        return int(self.encoder.config.hidden_size)

    @property
    def limit(self) -> int:
        """How many tokens of a prompt are read; what comes after is not."""
        return self.room * self.most_chunks

    def chunks(self, prompts: Sequence[str]) -> list[list[list[int]]]:
        """Token ids of each prompt in chunks of `room`, as many as `most_chunks` allows and at least one."""
        return [
            [ids[first : first + self.room] for first in range(0, max(len(ids), 1), self.room)][: self.most_chunks]
            for ids in self.spell(prompts)
        ]

    def tokenize(self, prompts: Sequence[str]) -> Tensor:
        """Token ids [chunks of all prompts, positions] with start, end and padding; what is too long is cut."""
        return self._ids([chunk for own in self.chunks(prompts) for chunk in own])

    def _ids(self, chunks: Sequence[Sequence[int]]) -> Tensor:
        start, end, pad = (self.tokenizer.bos_token_id, self.tokenizer.eos_token_id, self.tokenizer.pad_token_id)
        rows = [[start, *ids, end] for ids in chunks]
        return torch.tensor([row + [pad] * (self.room + 2 - len(row)) for row in rows], device=self.encoder.device)

    def encode(self, prompts: Sequence[str]) -> Encoded:
        """Prompts through the encoder, each chunk in a row of the call; rows of chunks have the owner of their prompt.

        Where a prompt ends is counted, not searched for: a learned word's id may be the largest of all, and padding may
        be the end token too.
        """
        chunks = self.chunks(prompts)
        counts = [len(own) for own in chunks]
        with self.rows.folded(counts):
            ids = self._ids([chunk for own in chunks for chunk in own])
            read = self.encoder(ids, output_hidden_states=self.penultimate)
        last: Tensor = read.last_hidden_state
        firsts = torch.tensor([0, *accumulate(counts)][:-1], device=last.device)
        end = last[firsts, torch.tensor([1 + len(own[0]) for own in chunks], device=last.device)]
        hidden, mask = _unfolded(read.hidden_states[-2] if self.penultimate else last, counts)
        return Encoded(hidden, end, mask)

    def project(self, end: Tensor) -> Tensor:
        """States at the end of prompts through the encoder's own projection, as SDXL's denoiser reads them."""
        return F.linear(end, self.encoder.text_projection.weight)

    @property
    def table(self) -> torch.nn.Module:
        """What turns ids into vectors."""
        embedding: torch.nn.Module = self.encoder.get_input_embeddings()
        return embedding


def _unfolded(hidden: Tensor, counts: Sequence[int]) -> tuple[Tensor, Tensor | None]:
    """The chunks of each prompt one after the other: from [chunks of all prompts, positions, width].

    Returns:
        Hidden states [prompts, positions of the longest, width], and the mask where prompts differ in length.
    """
    if max(counts) == 1:
        return hidden, None
    prompts = [rows.flatten(0, 1) for rows in hidden.split(list(counts))]
    lengths = torch.tensor([len(prompt) for prompt in prompts], device=hidden.device)
    padded = torch.nn.utils.rnn.pad_sequence(prompts, batch_first=True)
    if min(counts) == max(counts):
        return padded, None
    return padded, torch.arange(padded.shape[1], device=hidden.device) < lengths[:, None]
