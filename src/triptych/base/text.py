"""Text encoders with their tokenizers: one for Stable Diffusion 1 and 2, two for SDXL."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from itertools import accumulate
from typing import Any, ClassVar, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from ..errors import TriptychError
from ..prompt.chunking import divided, parts
from ..prompt.runs import Said, Weighted
from .emphasis import Chunk, variants, weighed
from .rows import Rows

END_OF_WORD = "</w>"  # of the last token of a word, in CLIP's vocabulary


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
        most_chunks: a plain text, such as a caption, is read in at most so many chunks; the rest is cut. A prompt
            whose weights are read (`Weighted`) is read whole.
        room: tokens of a prompt that fit into one chunk; 0: the encoder's positions less start and end.
        skip: the last layers that are left out, which is one less than A1111's "Clip skip".
        reads_weights: weights of a prompt act on its hidden states.
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
    reads_weights: bool = True
    skip: int = 0
    spell: Callable[[Sequence[str]], list[list[int]]] = field(init=False)

    def __post_init__(self) -> None:
        self.spell = self._spell
        self.room = self.room or int(self.encoder.config.max_position_embeddings) - 2

    @property
    def is_as_opened(self) -> bool:
        """Whether no open patch changes how it spells prompts."""
        return self.spell == self._spell

    def _spell(self, prompts: Sequence[str]) -> list[list[int]]:
        return [list(ids) for ids in self.tokenizer(list(prompts), add_special_tokens=False).input_ids]

    @property
    def width(self) -> int:
        return int(self.encoder.config.hidden_size)

    def limit(self, chunks: int = 1) -> int:
        """Tokens of a plain text that are read, of at least so many chunks; the rest is cut."""
        return self.room * max(self.most_chunks, chunks)

    def chunks(self, prompts: Sequence[Said]) -> list[list[Chunk]]:
        """Each prompt in chunks of at most `room` tokens, at least one; of a plain text at most `most_chunks`.

        A full chunk ends after a comma near its end, or after a word (see `prompt/chunking.py`). What is beyond the
        last chunk of a plain text is cut.
        """
        read = [prompt if isinstance(prompt, Weighted) else Weighted(((prompt, 1.0),)) for prompt in prompts]
        of_breaks = [[part or [("", 1.0)] for part in parts(prompt.runs)] for prompt in read]
        texts = [[text for part in own for text, _ in part] for own in of_breaks]
        with self.rows.folded([len(own) for own in texts]):
            spelled = iter(self.spell([text for own in texts for text in own]))
        found = []
        for prompt, own, said in zip(read, of_breaks, prompts, strict=True):
            weighted = [[(token, weight) for _, weight in part for token in next(spelled)] for part in own]
            most = None if isinstance(said, Weighted) else self.most_chunks
            found.append([chunk for tokens in weighted for chunk in self._chunked(tokens, prompt.mode, most)])
        return found

    def _chunked(self, tokens: Sequence[tuple[int, float]], mode: str, most: int | None) -> list[Chunk]:
        """Tokens with their weights in chunks; with `most` chunks, the last is filled and the rest is cut."""
        ids = [token for token, _ in tokens]
        begins = [0]
        if len(ids) > self.room:
            sizes = self._words(ids)
            places = [0, *accumulate(sizes)]
            commas = [size == 1 and ids[place] == self._comma for size, place in zip(sizes, places, strict=False)]
            begins = [places[begin] for begin in divided(sizes, commas, self.room)]
        ends = [*begins[1:], len(ids)]
        if most is not None and len(begins) > most:
            begins, ends = begins[:most], [*ends[: most - 1], begins[most - 1] + self.room]
        return [
            Chunk(tuple(ids[begin:end]), tuple(weight for _, weight in tokens[begin:end]), mode)
            for begin, end in zip(begins, ends, strict=True)
        ]

    def _words(self, ids: Sequence[int]) -> list[int]:
        """The number of tokens of each word, in their order; longer ones than a chunk are single tokens.

        The vectors of a learned word have ids beyond the vocabulary, one after the other, and are one word.
        """
        known = len(self.tokenizer)
        ends = [
            token != after - 1 if token >= known else self._ends_word(token)
            for token, after in zip(ids, [*ids[1:], 0], strict=True)
        ]
        sizes, size = list[int](), 0
        for last in [*ends[:-1], True]:
            size += 1
            if last:
                sizes += [size] if size <= self.room else [1] * size
                size = 0
        return sizes

    def _ends_word(self, token: int) -> bool:
        return str(self.tokenizer.convert_ids_to_tokens(token)).endswith(END_OF_WORD)

    @cached_property
    def _comma(self) -> int:
        return int(self.tokenizer.convert_tokens_to_ids(f",{END_OF_WORD}"))

    def _ids(self, chunks: Sequence[Chunk]) -> Tensor:
        """Token ids [chunks, positions] with start, end and padding tokens."""
        start, end, pad = (self.tokenizer.bos_token_id, self.tokenizer.eos_token_id, self.tokenizer.pad_token_id)
        rows = [[start, *chunk.ids, end] for chunk in chunks]
        return torch.tensor([row + [pad] * (self.room + 2 - len(row)) for row in rows], device=self.encoder.device)

    def encode(self, prompts: Sequence[Said]) -> Encoded:
        """Encode prompts. Each chunk is a row of the call and has the owner of its prompt.

        The place of the end token is counted, not searched for: a learned word may have a larger id, and the padding
        token may be the end token.
        """
        chunks = self.chunks(prompts)
        rows = [[variants(chunk) for chunk in own] for own in chunks]
        counts = [sum(map(len, own)) for own in rows]
        with self.rows.folded(counts):
            ids = self._ids([row for own in rows for beside in own for row in beside])
            read = self.encoder(ids, output_hidden_states=self.penultimate or self.skip > 0)
        last: Tensor = read.last_hidden_state
        firsts = torch.tensor([0, *accumulate(counts)][:-1], device=last.device)
        end = last[firsts, torch.tensor([1 + len(own[0].ids) for own in chunks], device=last.device)]
        hidden = self._layer(read)
        if any(chunk.weighed for own in chunks for chunk in own):
            flat, sizes = [c for own in chunks for c in own], [len(beside) for own in rows for beside in own]
            hidden = torch.stack([weighed(c, states) for c, states in zip(flat, hidden.split(sizes), strict=True)])
        hidden, mask = _join_chunks(hidden, [len(own) for own in chunks])
        return Encoded(hidden, end, mask)

    def _layer(self, read: Any) -> Tensor:
        """The hidden states that the denoiser reads."""
        if self.penultimate:
            hidden: Tensor = read.hidden_states[-2]
        elif self.skip:
            if self.skip >= len(read.hidden_states):
                layers = len(read.hidden_states) - 1
                raise TriptychError(f"the text encoder has {layers} layers, and cannot skip {self.skip}")
            hidden = getattr(self.encoder, "text_model", self.encoder).final_layer_norm(
                read.hidden_states[-1 - self.skip]
            )
        else:
            hidden = read.last_hidden_state
        return hidden

    @property
    def skips(self) -> bool:
        """Whether its last layers can be skipped. SDXL's denoiser always reads the layer before the last."""
        return not self.penultimate

    def project(self, end: Tensor) -> Tensor:
        """Project end states [prompts, width] by the encoder's own projection, for SDXL's denoiser."""
        return F.linear(end, self.encoder.text_projection.weight)

    @property
    def table(self) -> torch.nn.Module:
        """The token embedding: ids to vectors."""
        embedding: torch.nn.Module = self.encoder.get_input_embeddings()
        return embedding


@contextmanager
def skipping(texts: Sequence[Text], layers: int) -> Iterator[None]:
    """Leave out the last layers of text encoders that can skip them, inside the `with` block."""
    before = [text.skip for text in texts]
    for text in texts:
        text.skip = layers if text.skips else 0
    try:
        yield
    finally:
        for text, skip in zip(texts, before, strict=True):
            text.skip = skip


@contextmanager
def reading_chunks(texts: Sequence[Text], most: int) -> Iterator[None]:
    """Plain texts, such as captions, may have at least so many chunks inside the `with` block."""
    before = [text.most_chunks for text in texts]
    for text in texts:
        text.most_chunks = max(text.most_chunks, most)
    try:
        yield
    finally:
        for text, chunks in zip(texts, before, strict=True):
            text.most_chunks = chunks


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
