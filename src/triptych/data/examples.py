"""What training takes from the pictures: latents, prompts, and the rows of a step."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from torch import Tensor

from ..base import Base
from .concept import Concept, fill

if TYPE_CHECKING:
    from PIL.Image import Image


@dataclass(frozen=True)
class Examples:
    """The training pictures, as latents [pictures, channels, height, width], and how each is described.

    A template has "{}" where the concept is named. The pictures themselves are there for methods that look at them.
    """

    pictures: Sequence[Image]
    latents: Tensor
    templates: Sequence[str]
    names: Sequence[str] = ()  # of the pictures' files, where they are known

    @classmethod
    def of(cls, base: Base, concept: Concept, chosen: Sequence[int]) -> Examples:
        """The concept's pictures with these indices, cropped to the base's resolution."""
        pictures = concept.images(base.resolution)
        templates = concept.templates(base.description.captions[concept.kind])
        own = [pictures[i] for i in chosen]
        names = [concept.pictures[i].path.name for i in chosen]
        return cls(own, base.latents(own), [templates[i] for i in chosen], names)

    def prompts(self, phrase: str) -> list[str]:
        return [fill(template, phrase) for template in self.templates]


@dataclass(frozen=True)
class Batch:
    """Rows of one job: latents, noise [rows, channels, height, width], timesteps [rows], prompts."""

    latents: Tensor
    noise: Tensor
    timesteps: Tensor
    prompts: list[str]


@dataclass(frozen=True)
class Source:
    """Where a job takes its rows from: latents, the prompt of each, rows a step, and the weight of their mean loss."""

    purpose: Literal["instance", "prior"]
    latents: Tensor
    prompts: Sequence[str]
    batch: int
    weight: float = 1.0
