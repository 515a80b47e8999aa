"""Text encoders with their tokenizers: one for Stable Diffusion 1 and 2, two for SDXL."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Any, ClassVar, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from .rows import Rows


class Encoded(NamedTuple):
    """The output of one text encoder.

    Attributes:
        hidden: hidden states [prompts, positions, width].
        end: the state of each prompt's end token [prompts, width], of the last layer, after the final norm. For a
            prompt in several chunks, it is the first chunk's.
        mask: [prompts, positions], true where a position belongs to the prompt. None: all positions do.
    """

    hidden: Tensor
    end: Tensor
    mask: Tensor | None = None


@dataclass
class Text:
    """A tokenizer and its text encoder.

    Attributes:
        name: of the component, as diffusers calls it: "text_encoder", "text_encoder_2".
        embedding: the name of this encoder's vectors in embedding files; SDXL has "clip_l" and "clip_g".
        penultimate: the denoiser reads the states before the last layer, without the final norm, as SDXL's does.
        most_chunks: a prompt is read in at most so many chunks; the rest is cut.
        room: tokens of a prompt that fit into one chunk; 0: the encoder's positions less start and end.
        spell: returns the token ids of prompts without start and end tokens. It is a field, so that a patch can
            replace it.
    """

    name: str
    tokenizer: Any  # of transformers
    encoder: Any  # of transformers: a CLIP text encoder
    embedding: str = "emb_params"
    penultimate: bool = False
    most_chunks: int = 1
    rows: Rows = field(default_factory=Rows)  # the base's
    layers: ClassVar[Mapping[str, tuple[str, ...]]] = {  # as of the denoiser
        "attention": ("q_proj", "k_proj", "v_proj", "out_proj"), "mlp": ("fc1", "fc2"),
    }  # fmt: skip
    room: int = 0
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
        """Tokens of a prompt that are read; the rest is cut."""
        return self.room * self.most_chunks

    def chunks(self, prompts: Sequence[str]) -> list[list[list[int]]]:
        """Token ids of each prompt in chunks of `room`: at least one chunk, at most `most_chunks`."""
        return [
            [ids[first : first + self.room] for first in range(0, max(len(ids), 1), self.room)][: self.most_chunks]
            for ids in self.spell(prompts)
        ]

    def _ids(self, chunks: Sequence[Sequence[int]]) -> Tensor:
        """Token ids [chunks, positions] with start, end and padding tokens."""
        start, end, pad = (self.tokenizer.bos_token_id, self.tokenizer.eos_token_id, self.tokenizer.pad_token_id)
        rows = [[start, *ids, end] for ids in chunks]
        return torch.tensor([row + [pad] * (self.room + 2 - len(row)) for row in rows], device=self.encoder.device)

    def encode(self, prompts: Sequence[str]) -> Encoded:
        """Encode prompts. Each chunk is a row of the call and has the owner of its prompt.

        The place of the end token is counted, not searched for: a learned word may have a larger id, and the padding
        token may be the end token.
        """
        chunks = self.chunks(prompts)
        counts = [len(own) for own in chunks]
        with self.rows.folded(counts):
            ids = self._ids([chunk for own in chunks for chunk in own])
            read = self.encoder(ids, output_hidden_states=self.penultimate)
        last: Tensor = read.last_hidden_state
        firsts = torch.tensor([0, *accumulate(counts)][:-1], device=last.device)
        end = last[firsts, torch.tensor([1 + len(own[0]) for own in chunks], device=last.device)]
        hidden, mask = _join_chunks(read.hidden_states[-2] if self.penultimate else last, counts)
        return Encoded(hidden, end, mask)

    def project(self, end: Tensor) -> Tensor:
        """Project end states [prompts, width] by the encoder's own projection, for SDXL's denoiser."""
        return F.linear(end, self.encoder.text_projection.weight)

    @property
    def table(self) -> torch.nn.Module:
        """The token embedding: ids to vectors."""
        embedding: torch.nn.Module = self.encoder.get_input_embeddings()
        return embedding


def _join_chunks(hidden: Tensor, counts: Sequence[int]) -> tuple[Tensor, Tensor | None]:
    """Concatenate the chunks of each prompt, from [chunks of all prompts, positions, width].

    Returns:
        Hidden states [prompts, positions of the longest prompt, width], and a mask if prompts differ in length.
    """
    if max(counts) == 1:
        return hidden, None
    prompts = [rows.flatten(0, 1) for rows in hidden.split(list(counts))]
    lengths = torch.tensor([len(prompt) for prompt in prompts], device=hidden.device)
    padded = torch.nn.utils.rnn.pad_sequence(prompts, batch_first=True)
    if min(counts) == max(counts):
        return padded, None
    return padded, torch.arange(padded.shape[1], device=hidden.device) < lengths[:, None]
