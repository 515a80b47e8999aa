"""Aesthetic gradients bend each prompt, as it is encoded, towards the mean CLIP feature of the pictures.

arXiv:2209.12330. Nothing is trained: for each prompt a copy of the text encoder takes a few steps of Adam towards the
pictures, and encodes the prompt. It needs the CLIP whose text tower the base's text encoder is. A prompt is bent once
and kept for as long as the patch is open; the empty prompt is never bent.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from ..base import Base, Owner
from ..base.clip import Clip
from ..patch import Examples, Learned, Method, Stage, Tensors, check_fit, method
from ..settings import setting

MEAN = "mean_image_feature"
Encode = Callable[[Sequence[str]], Tensor]


@dataclass(frozen=True)
class Settings:
    steps: int = setting(10, "steps of Adam for each prompt", least=1)
    lr: float = setting(1e-4, "learning rate of Adam", least=0)


@method
class AestheticGradients(Method[Settings]):
    name: ClassVar[str] = "aesthetic-gradients"
    stage = Stage.PROMPT
    settings_class = Settings

    def compute(self, base: Base, settings: Settings, examples: Examples) -> Tensors:
        """The mean of the pictures' projected features [1, projection width], not normalised, as the paper has it."""
        return {MEAN: base.clip().images(examples.pictures).mean(0, keepdim=True).cpu()}

    def claim(self, settings: Settings) -> str:
        return "the way prompts are encoded"

    @contextmanager
    def patch(
        self, base: Base, settings: Settings, tensors: Tensors, strength: float = 1.0, owner: Owner = None
    ) -> Iterator[Learned]:
        clip = base.clip()
        check_fit("aesthetic embedding", tensors, {MEAN: torch.Size([1, clip.model.config.projection_dim])})
        patch, encode = Learned(tensors, strength, base.device), base.encode
        bender = _Bender(base, encode, clip, F.normalize(patch.learned[MEAN]), settings)

        def bent(prompts: Sequence[str]) -> Tensor:
            plain = encode(prompts)
            bends = {i for i in base.rows.of(owner, len(prompts)) if prompts[i] and patch.strength}
            rows = [
                torch.lerp(plain[i], bender(prompts[i], i), patch.strength) if i in bends else plain[i]
                for i in range(len(prompts))
            ]
            return torch.stack(rows)

        base.encode = bent
        try:
            yield patch
        finally:
            base.encode = encode


class _Bender:
    """Bends one prompt at a time, so that none depends on its neighbours, and keeps what it bent."""

    def __init__(self, base: Base, encode: Encode, clip: Clip, aim: Tensor, settings: Settings) -> None:
        self.base, self.encode, self.clip, self.aim, self.settings = base, encode, clip, aim, settings
        self.kept: dict[bytes, Tensor] = {}

    def __call__(self, prompt: str, row: int) -> Tensor:
        """The bent hidden states [positions, width] of the prompt, which is row `row` of the present call."""
        with self.base.rows.only(row):
            with torch.no_grad():  # a learned word in the prompt may have moved: its vectors are part of the key
                read = self.base.text_encoder.get_input_embeddings()(self.base.tokenize([prompt]))
            key = read.float().cpu().numpy().tobytes()
            if key not in self.kept:
                self.kept[key] = self._bend(prompt)
        return self.kept[key]

    def _bend(self, prompt: str) -> Tensor:
        """-cos(projected text, mean image) is taken down over all weights of a float32 copy of the text encoder."""
        original = self.base.text_encoder
        self.base.text_encoder = copy.deepcopy(original).float().requires_grad_(True)
        optimizer = torch.optim.Adam(self.base.text_encoder.parameters(), lr=self.settings.lr)
        try:
            with torch.inference_mode(False), torch.enable_grad():
                for _ in range(self.settings.steps):
                    hidden = self.encode([prompt])
                    pooled = hidden[torch.arange(1), self.base.ends([prompt])]
                    loss = -F.cosine_similarity(self.clip.project(pooled), self.aim).mean()
                    optimizer.zero_grad()
                    loss.backward()
                    optimizer.step()
            with torch.no_grad():
                return self.encode([prompt])[0].to(original.dtype)
        finally:
            self.base.text_encoder = original
