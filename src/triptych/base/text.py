"""How a base reads prompts: one text side for Stable Diffusion 1 and 2, two for SDXL; what its UNet is told of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor

if TYPE_CHECKING:
    from transformers import CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer


@dataclass(frozen=True)
class Context:
    """What the UNet is told of prompts.

    `hidden` [prompts, positions, width]; `pooled` [prompts, width of it] where the UNet also reads one state a prompt.
    """

    hidden: Tensor
    pooled: Tensor | None = None

    def __len__(self) -> int:
        return len(self.hidden)

    def map(self, change: Callable[[Tensor], Tensor]) -> Context:
        return Context(change(self.hidden), None if self.pooled is None else change(self.pooled))

    def rows(self, chosen: slice | Tensor) -> Context:
        return self.map(lambda states: states[chosen])

    def split(self, sizes: Sequence[int]) -> list[Context]:
        pooled = [None] * len(sizes) if self.pooled is None else self.pooled.split(sizes)
        return [Context(h, p) for h, p in zip(self.hidden.split(sizes), pooled, strict=True)]

    def lerp(self, other: Context, weight: float) -> Context:
        """(1 - weight) x this + weight x the other."""
        pooled = None if self.pooled is None or other.pooled is None else torch.lerp(self.pooled, other.pooled, weight)
        return Context(torch.lerp(self.hidden, other.hidden, weight), pooled)

    @staticmethod
    def cat(parts: Iterable[Context]) -> Context:
        parts = list(parts)
        pooled = [part.pooled for part in parts if part.pooled is not None]
        return Context(torch.cat([part.hidden for part in parts]), torch.cat(pooled) if pooled else None)


@dataclass
class Text:
    """A tokenizer and the text encoder that reads its ids.

    `spell` gives the token ids of prompts without start and end; it is a field, so that a patch may swap it.
    """

    name: str  # as diffusers calls it: text_encoder, text_encoder_2
    tokenizer: CLIPTokenizer
    encoder: CLIPTextModel | CLIPTextModelWithProjection
    embedding: str = (
        "emb_params"  # what an embedding's rows for this side are called in files: SDXL has clip_l and clip_g
    )
    penultimate: bool = False  # the UNet reads the states before the last layer, as SDXL's does, without the last norm
    spell: Callable[[Sequence[str]], list[list[int]]] = field(init=False)

    def __post_init__(self) -> None:
        self.spell = self._spell

    def _spell(self, prompts: Sequence[str]) -> list[list[int]]:
        return [list(ids) for ids in self.tokenizer(list(prompts), add_special_tokens=False).input_ids]

    @property
    def width(self) -> int:
        return int(self.encoder.config.hidden_size)

    @property
    def room(self) -> int:
        """How many tokens of a prompt are read; what comes after is not."""
        return int(self.encoder.config.max_position_embeddings) - 2

    def tokenize(self, prompts: Sequence[str]) -> Tensor:
        """Token ids [prompts, positions] with start, end and padding; a long prompt is cut."""
        start, end, pad = (self.tokenizer.bos_token_id, self.tokenizer.eos_token_id, self.tokenizer.pad_token_id)
        rows = [[start, *ids[: self.room], end] for ids in self.spell(prompts)]
        return torch.tensor([row + [pad] * (self.room + 2 - len(row)) for row in rows], device=self.encoder.device)

    def ends(self, prompts: Sequence[str]) -> Tensor:
        """Where each prompt ends [prompts]: position of the first end token.

        Counted, not searched for: a learned word's id may be the largest of all, and padding may be the end token too.
        """
        return torch.tensor([1 + min(len(ids), self.room) for ids in self.spell(prompts)], device=self.encoder.device)

    def encode(self, prompts: Sequence[str]) -> tuple[Tensor, Tensor]:
        """Hidden states [prompts, positions, width], and the state at the end of each prompt [prompts, width].

        The latter is of the last layer, normed.
        """
        read = self.encoder(self.tokenize(prompts), output_hidden_states=self.penultimate)
        last: Tensor = read.last_hidden_state
        end = last[torch.arange(len(last), device=last.device), self.ends(prompts)]
        return (read.hidden_states[-2] if self.penultimate else last), end

    def project(self, end: Tensor) -> Tensor:
        """States at the end of prompts through the encoder's own projection, as SDXL's UNet reads them."""
        return F.linear(end, self.encoder.text_projection.weight)

    @property
    def table(self) -> torch.nn.Module:
        """What turns ids into vectors."""
        embedding: torch.nn.Module = self.encoder.get_input_embeddings()
        return embedding
