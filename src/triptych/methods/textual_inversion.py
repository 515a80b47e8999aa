"""Textual Inversion learns vectors for a new word and leaves the model as it is (arXiv:2208.01618).

The only parameters are the word's own vectors (equation 2). They are stored beside the old token embedding, which is
not changed. On a base with two text encoders the word has vectors in each, named as in SDXL's embedding files. The word
has an owner: all trials of a study learn the same word, so only the prompts of its owner read it as these vectors.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..base import Base, Owner, Text, generator
from ..errors import Remedy, TriptychError
from ..patching.patch import Learned, Tensors, check_fit
from ..prompt.words import whole_word
from ..settings import setting
from . import Depth, Method
from .word import LearnsWord, WordSettings


@dataclass(frozen=True)
class Settings(WordSettings):
    lr: float = setting(5e-3, "learning rate of the optimiser", least=0)


class Word(Learned):
    """A learned word, or a word in training."""

    def __init__(
        self,
        tensors: Tensors,
        strength: float,
        device: torch.device,
        start: Tensors,
        fixed: bool = False,
        shuffle: bool = False,
    ) -> None:
        self.start = start  # by tensor name; empty if no start word is recorded
        self.fixed = fixed  # whether training leaves the length of each vector as it starts
        self.shuffle = shuffle  # whether a step of training reads the vectors in random order
        super().__init__(tensors, strength, device)

    def set_strength(self, strength: float) -> None:
        """0 reads prompts as the bare base does. Between 0 and 1, vectors are interpolated from the start word."""
        if strength not in (0, 1) and not self.start:
            raise TriptychError(
                f"this embedding does not record its start word, so its strength is 0 or 1, not {strength}"
            )
        super().set_strength(strength)

    def rows(self, name: str) -> Tensor:
        """The word's vectors [vectors, width] in one text encoder, at the current strength."""
        rows = self._of_length(name)
        return rows if self.strength == 1 or not self.start else torch.lerp(self.start[name], rows, self.strength)

    def order(self, count: int, prompt: str) -> list[int]:
        """The places 0 to `count` - 1 of the vectors, in the order in which a prompt is read now."""
        if not self.shuffle or self.draw is None or not torch.is_grad_enabled():
            return list(range(count))
        drawn: list[int] = torch.randperm(count, generator=generator("order", prompt, *self.draw)).tolist()
        return drawn

    def _of_length(self, name: str) -> Tensor:
        """The vectors; in training of fixed length, with that of the start word."""
        rows = self.learned[name]
        if not self.fixed or self.draw is None:
            return rows
        fixed: Tensor = F.normalize(rows, dim=-1) * torch.linalg.vector_norm(self.start[name], dim=-1, keepdim=True)
        return fixed

    def tensors(self) -> Tensors:
        return {name: self._of_length(name) for name in self.learned}


class ExtendedEmbedding(nn.Module):
    """The old token embedding, followed by the vectors of a word."""

    def __init__(self, old: nn.Module, word: Word, name: str) -> None:
        super().__init__()
        self.old, self.word, self.name, self.first = old, word, name, _length(old)

    def __len__(self) -> int:
        return self.first + len(self.word.learned[self.name])

    def forward(self, ids: Tensor) -> Tensor:
        at = ids - self.first
        new = (at >= 0) & (at < len(self) - self.first)
        old: Tensor = self.old(ids.where(~new, 0))
        learned = F.embedding(at.where(new, 0), self.word.rows(self.name).to(old.dtype))
        return torch.where(new.unsqueeze(-1), learned, old)


def _length(table: nn.Module) -> int:
    return len(table) if isinstance(table, ExtendedEmbedding) else int(table.num_embeddings)  # type: ignore[arg-type]


class TextualInversion(LearnsWord[Settings], Method[Settings]):
    name: ClassVar[str] = "textual-inversion"
    title = "Textual inversion"
    settings_class = Settings
    opens_at = Depth.WORDS
    one_concept = "a file of an embedding holds one word"

    def start(self, base: Base, settings: Settings, seed: int) -> Tensors:
        if len(base.texts[0].spell([settings.token])[0]) < 2:
            raise TriptychError(f"the base already has the word {settings.token!r}", Remedy.TOKEN)
        rows = _start(base, settings)
        if not rows:
            raise TriptychError("textual-inversion needs a start_word: a word like what shall be learned")
        return rows

    @contextmanager
    def patch(
        self, base: Base, settings: Settings, tensors: Tensors, strength: float = 1.0, owner: Owner = None
    ) -> Iterator[Word]:
        first = next(iter(tensors.values()), torch.empty(0))
        check_fit("embedding", tensors, {t.embedding: torch.Size([len(first), t.width]) for t in base.texts})
        word = Word(
            tensors, strength, base.device, _start(base, settings), settings.length == "fixed", settings.shuffle
        )
        with ExitStack() as undo:
            for text in base.texts:
                undo.enter_context(_extended(base, text, word, settings.token, owner))
            yield word


@contextmanager
def _extended(base: Base, text: Text, word: Word, token: str, owner: Owner) -> Iterator[None]:
    """Make a text encoder read `token` as the word's vectors, where it is a whole word in the owner's prompts."""
    old, spell, word_of = text.table, text.spell, whole_word(token)
    extended = ExtendedEmbedding(old, word, text.embedding)
    count = len(extended) - extended.first

    def read(prompts: Sequence[str]) -> list[list[int]]:
        mine = base.rows.of(owner, len(prompts)) if word.strength else ()
        spelled = spell(prompts)
        for row in mine:
            pieces = word_of.split(prompts[row])
            if len(pieces) > 1:
                ids = [extended.first + place for place in word.order(count, prompts[row])]
                with base.rows.only(row):
                    between = [spell([piece])[0] for piece in pieces]
                spelled[row] = sum((ids + piece for piece in between[1:]), between[0])
        return spelled

    text.spell = read
    text.encoder.set_input_embeddings(extended)
    try:
        yield
    finally:
        text.encoder.set_input_embeddings(old)
        text.spell = spell


def _start(base: Base, settings: Settings) -> Tensors:
    """The start word's vectors, float32 [vectors, width], for each text encoder; empty without a start word.

    There is one vector per token of the word, or of several words in turn, each the mean of its tokens. The last one is
    repeated to fill up.
    """
    words = [word.strip() for word in settings.start_word.split(",") if word.strip()]
    rows = {}
    for text in base.texts:
        spelled = [ids for ids in text.spell(words) if ids] if words else []
        if not spelled:
            return {}
        with torch.no_grad():
            each = [text.table(torch.tensor(ids, device=base.device)) for ids in spelled]
        found = each[0] if len(each) == 1 else torch.stack([vectors.mean(dim=0) for vectors in each])
        taken = torch.arange(settings.vectors).clamp(max=len(found) - 1).to(base.device)
        rows[text.embedding] = found[taken]
    return {name: row.float() if row.dtype is not torch.float64 else row.clone() for name, row in rows.items()}
