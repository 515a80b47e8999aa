"""Aesthetic gradients move the encoding of each prompt towards the mean CLIP feature of the pictures.

arXiv:2209.12330. There is no training beforehand. For each prompt, a copy of the text encoder takes a few steps of Adam
towards the pictures and then encodes the prompt. This needs the CLIP whose text tower is the base's text encoder. The
result for a prompt is cached while the patch is open. The empty prompt is not changed. A text may turn the mean feature
before, and a strength below 1 may mix along arcs: both as A1111's extension for aesthetic embeddings does it.
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

from ..base import Base, Conditioning, Owner, Text
from ..base.clip import Clip
from ..data.examples import Examples
from ..patching.patch import Learned, Tensors, check_fit
from ..prompt.runs import Said
from ..sampling.noise import slerp
from ..settings import setting
from . import Depth, Method

MEAN = "mean_image_feature"
Encode = Callable[[Sequence[Said]], Conditioning]


@dataclass(frozen=True)
class Settings:
    steps: int = setting(10, "steps of Adam for each prompt", least=1)
    lr: float = setting(1e-4, "learning rate of Adam", least=0)
    slerp: bool = setting(False, "a strength below 1 mixes the two encodings along an arc, not a line, as in A1111")
    text: str = setting("", "turns the pictures' feature towards this text")
    text_angle: float = setting(0.1, "how far, as a share of the angle between them", least=0, most=1)
    negative: bool = setting(False, "the text turns it away from itself")


class AestheticGradients(Method[Settings]):
    name: ClassVar[str] = "aesthetic-gradients"
    title = "Aesthetic gradients"
    settings_class = Settings
    opens_at = Depth.PROMPT
    one_concept = "it is one mean over pictures"
    exports_as = ("triptych", "a1111-aesthetic")

    def refusal(self, base: Base) -> str:
        if all(text.projection for text in base.family.texts):
            return ""
        return (
            "it pulls a prompt towards the pictures in the space that a CLIP has for both, and the text encoder of "
            f"{base.family.title} is a language model that has no place for pictures; take lora"
        )

    def compute(self, base: Base, settings: Settings, examples: Examples) -> Tensors:
        """The mean of the pictures' projected features [1, projection width], not normalised, as in the paper.

        There is one per text encoder of the base; SDXL has two.
        """
        clips = base.clips()
        return {
            name: clip.images(examples.pictures).mean(0, keepdim=True).cpu()
            for name, clip in zip(_names(clips), clips, strict=True)
        }

    def changes_text(self, settings: Settings) -> bool:
        return True

    def claim(self, settings: Settings) -> str:
        return "the way prompts are encoded"

    @contextmanager
    def patch(
        self, base: Base, settings: Settings, tensors: Tensors, strength: float = 1.0, owner: Owner = None
    ) -> Iterator[Learned]:
        clips = base.clips()
        shapes = {
            name: torch.Size([1, clip.model.config.projection_dim])
            for name, clip in zip(_names(clips), clips, strict=True)
        }
        check_fit("aesthetic embedding", tensors, shapes)
        patch, encode = Learned(tensors, strength, base.device), base.encode
        aims = [F.normalize(patch.learned[name]) for name in shapes]
        mix = _along_arcs if settings.slerp else torch.lerp
        personalised = _Personalised(base, encode, clips, aims, settings)

        def patched(prompts: Sequence[Said]) -> Conditioning:
            plain = encode(prompts)
            own = {i for i in base.rows.of(owner, len(prompts)) if prompts[i] and patch.strength}
            rows = [
                row.mixed(personalised(prompts[i], i), patch.strength, mix) if i in own else row
                for i, row in enumerate(plain.split([1] * len(plain)))
            ]
            return Conditioning.cat(rows)

        base.encode = patched
        try:
            yield patch
        finally:
            base.encode = encode


def _names(clips: Sequence[Clip]) -> list[str]:
    """The tensor names, one per text encoder. The first is that of files for one text encoder; others are numbered."""
    return [MEAN if i == 0 else f"{MEAN}_{i + 1}" for i in range(len(clips))]


def _along_arcs(first: Tensor, other: Tensor, share: float) -> Tensor:
    """Slerp of states [rows, ..., positions, width], each channel over the positions, or of [rows, width], over it."""
    return slerp(first.float(), other.float(), share, dim=max(first.dim() - 2, 1)).to(first)


class _Personalised:
    """Encodes prompts with personalised text encoders, one prompt at a time, and caches the results."""

    def __init__(
        self, base: Base, encode: Encode, clips: Sequence[Clip], aims: Sequence[Tensor], settings: Settings
    ) -> None:
        self.base, self.encode, self.clips, self.aims, self.settings = base, encode, clips, aims, settings
        self.kept: dict[bytes, Conditioning] = {}

    def __call__(self, prompt: Said, row: int) -> Conditioning:
        """The conditioning of the prompt, which is row `row` of the current call."""
        with self.base.rows.only(row):
            with torch.no_grad():  # the key covers learned words and LoRAs of the text encoder, which may change
                key = self.encode([prompt]).hidden.float().cpu().numpy().tobytes()
            if key not in self.kept:
                self.kept[key] = self._personalise(prompt)
        return self.kept[key]

    def _personalise(self, prompt: Said) -> Conditioning:
        """Minimise -cos(projected text, aim) over all weights of a float32 copy of each text encoder."""
        originals = [text.encoder for text in self.base.texts]
        dtype = originals[0].dtype
        try:
            with torch.inference_mode(False), torch.enable_grad():
                for text, clip, mean in zip(self.base.texts, self.clips, self.aims, strict=True):
                    aim = self._turned(mean, text, clip)
                    text.encoder = copy.deepcopy(text.encoder).float().requires_grad_(True)
                    self._optimise(text, prompt, clip, aim)
            with torch.no_grad():
                return self.encode([prompt]).map(lambda states: states.to(dtype))
        finally:
            for text, original in zip(self.base.texts, originals, strict=True):
                text.encoder = original

    @torch.no_grad()
    def _turned(self, mean: Tensor, text: Text, clip: Clip) -> Tensor:
        """The aim of a text encoder: the mean [1, projection width], turned towards the feature of the text, or away.

        Away is towards the direction from that feature to the mean. Only this one has length 1, as in A1111.
        """
        if not self.settings.text:
            return mean
        feature = clip.project(text.encode([self.settings.text]).end)
        if self.settings.negative:
            feature = F.normalize(mean - feature)
        return slerp(mean, feature, self.settings.text_angle)

    def _optimise(self, text: Text, prompt: Said, clip: Clip, aim: Tensor) -> None:
        optimizer = torch.optim.Adam(text.encoder.parameters(), lr=self.settings.lr)
        for _ in range(self.settings.steps):
            loss = -F.cosine_similarity(clip.project(text.encode([prompt]).end), aim).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
