"""Textual Inversion learns vectors for a new word and leaves the model as it is (arXiv:2208.01618).

Only the word's own rows exist as parameters: they lie beside the old table, and both are looked up apart. The word
needs owners as much as a layer does, for all trials of a study learn the same word, and the prompts of others may spell
it: only in the prompts of its owner is it read as these rows.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..base import Base, Owner
from ..concept import Concept
from ..errors import TriptychError
from ..patch import Learned, Method, Stage, Tensors, Training, check_fit, method
from ..settings import setting

ROWS = "emb_params"  # the only tensor of the file, under the name that kohya's and A1111's readers take


@dataclass(frozen=True)
class Settings(Training):
    lr: float = setting(5e-3, "learning rate of AdamW", least=0)
    vectors: int = setting(2, "vectors (tokens) the word is made of", least=1)
    token: str = setting("<concept>", "the new word")
    start_word: str = setting("", "the known word it starts from; empty: the concept's class word")


class Word(Learned):
    """A word being learned, or learned."""

    def __init__(self, tensors: Tensors, strength: float, device: torch.device, start: Tensor | None) -> None:
        self.start = start
        super().__init__(tensors, strength, device)

    def set_strength(self, strength: float) -> None:
        """0: not attached, the prompt is read as the base reads it. Between 0 and 1: on the way from the start word."""
        if strength not in (0, 1) and self.start is None:
            raise TriptychError(
                f"this embedding does not record its start word, so its strength is 0 or 1, not {strength}"
            )
        super().set_strength(strength)

    def rows(self) -> Tensor:
        """The word's vectors [vectors, width] at the present strength."""
        rows = self.learned[ROWS]
        return rows if self.strength == 1 or self.start is None else torch.lerp(self.start, rows, self.strength)


class ExtendedEmbedding(nn.Module):
    """The old table, and a word's rows after it."""

    def __init__(self, old: nn.Module, word: Word) -> None:
        super().__init__()
        self.old, self.word, self.first = old, word, _length(old)

    def __len__(self) -> int:
        return self.first + len(self.word.learned[ROWS])

    def forward(self, ids: Tensor) -> Tensor:
        at = ids - self.first
        new = (at >= 0) & (at < len(self.word.learned[ROWS]))
        old: Tensor = self.old(ids.where(~new, 0))
        learned = F.embedding(at.where(new, 0), self.word.rows().to(old.dtype))
        return torch.where(new.unsqueeze(-1), learned, old)


def _length(table: nn.Module) -> int:
    return len(table) if isinstance(table, ExtendedEmbedding) else int(table.num_embeddings)  # type: ignore[arg-type]


@method
class TextualInversion(Method[Settings]):
    name: ClassVar[str] = "textual-inversion"
    stage = Stage.WORDS
    settings_class = Settings

    def for_concept(self, settings: Settings, concept: Concept) -> Settings:
        return replace(settings, token=concept.token, start_word=settings.start_word or concept.class_word)

    def phrase(self, settings: Settings, class_word: str) -> str:
        return settings.token

    def start(self, base: Base, settings: Settings, seed: int) -> Tensors:
        rows = _start(base, settings)
        if rows is None:
            raise TriptychError("textual-inversion needs a start_word: a word like what shall be learned")
        return {ROWS: rows}

    def claim(self, settings: Settings) -> str:
        return f"the word {settings.token!r}"

    @contextmanager
    def patch(
        self, base: Base, settings: Settings, tensors: Tensors, strength: float = 1.0, owner: Owner = None
    ) -> Iterator[Word]:
        old, spell = base.text_encoder.get_input_embeddings(), base.spell
        width = base.text_encoder.config.hidden_size
        check_fit("embedding", tensors, {ROWS: torch.Size([len(tensors.get(ROWS, ())), width])})
        if len(spell([settings.token])[0]) < 2:
            raise TriptychError(f"the base already has the word {settings.token!r}: choose another with --token")
        word = Word(tensors, strength, base.device, _start(base, settings))
        extended = ExtendedEmbedding(old, word)
        ids = list(range(extended.first, len(extended)))

        def read(prompts: Sequence[str]) -> list[list[int]]:
            mine = base.rows.of(owner, len(prompts)) if word.strength else ()
            spelled = spell(prompts)
            for row in mine:
                if settings.token in prompts[row]:
                    with base.rows.only(row):
                        pieces = [spell([piece])[0] for piece in prompts[row].split(settings.token)]
                    spelled[row] = sum((ids + piece for piece in pieces[1:]), pieces[0])
            return spelled

        base.spell = read
        base.text_encoder.set_input_embeddings(extended)
        try:
            yield word
        finally:
            base.text_encoder.set_input_embeddings(old)
            base.spell = spell


def _start(base: Base, settings: Settings) -> Tensor | None:
    """The start word's vectors, float32 [vectors, width]: its tokens in turn, the last one again for what is left."""
    ids = base.spell([settings.start_word])[0] if settings.start_word else []
    if not ids:
        return None
    taken = (ids + ids[-1:] * settings.vectors)[: settings.vectors]
    table = base.text_encoder.get_input_embeddings()
    with torch.no_grad():
        rows: Tensor = table(torch.tensor(taken, device=base.device))
    return rows.float() if rows.dtype is not torch.float64 else rows.clone()
