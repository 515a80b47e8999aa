"""Prompts as a language model reads them: each the message of a user."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from ..prompt.runs import BREAK, Said, Weighted
from .emphasis import Chunk
from .text import Encoded, Text

BEFORE, AFTER = "<|im_start|>user\n", "<|im_end|>\n<|im_start|>assistant\n"


@dataclass
class ChatText(Text):
    """A language model of the Qwen family and its tokenizer, as Z-Image has them.

    Prompts are padded to the longest and masked; since attention looks back alone, none depends on its neighbours.
    """

    reads_weights: bool = False
    room: int = 512 - 8  # Z-Image was trained with 512 tokens, the form of a message among them

    def chunks(self, prompts: Sequence[Said]) -> list[list[Chunk]]:
        """Each prompt always in one chunk. A language model reads no weights and no chunks: they are left out."""
        said = [prompt if isinstance(prompt, str) else _plain(prompt) for prompt in prompts]
        ids = [own[: self.room] for own in self.spell(said)]
        return [[Chunk(tuple(own), (1.0,) * len(own))] for own in ids]

    def encode(self, prompts: Sequence[Said]) -> Encoded:
        before, after = self.tokenizer([BEFORE, AFTER], add_special_tokens=False).input_ids
        rows = [[*before, *chunk.ids, *after] for (chunk,) in self.chunks(prompts)]
        lengths, device = torch.tensor([len(row) for row in rows]), self.encoder.device
        longest = int(lengths.max())
        pad = self.tokenizer.pad_token_id
        ids = torch.tensor([row + [pad] * (longest - len(row)) for row in rows], device=device)
        mask = (torch.arange(longest) < lengths[:, None]).to(device)
        read = self.encoder(ids, attention_mask=mask, output_hidden_states=True, use_cache=False)
        end = read.last_hidden_state[torch.arange(len(rows), device=device), (lengths - 1).to(device)]
        hidden = read.hidden_states[-2] if self.penultimate else read.last_hidden_state
        return Encoded(hidden, end, mask)


def _plain(prompt: Weighted) -> str:
    """The words of a prompt without their weights."""
    return "".join(" " if (text, weight) == BREAK else text for text, weight in prompt.runs)
