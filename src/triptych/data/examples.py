"""Training examples, their prompts, and the rows of a step."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor

from ..base import Base, Framing
from ..options import PictureOptions
from .concept import Concept, fill
from .preparing import prepared

if TYPE_CHECKING:
    from PIL.Image import Image

PLAIN = PictureOptions()


@dataclass(frozen=True)
class Example:
    """A training picture.

    Attributes:
        latent: [channels, height, width]. Examples of one training may differ in height and width.
        template: its caption, with "{}" in place of the concept.
        picture: the picture itself, for methods that encode it.
        name: of its file, if known.
        framing: the picture's original size and its crop. None: the whole picture.
        weights: weights of the squared errors in the loss [height, width], at least 0. None: all equal.
        as_base: whether its rows aim at what the base predicts without what is trained, and not at the picture.
    """

    latent: Tensor
    template: str = "{}"
    picture: Image | None = None
    name: str = ""
    framing: Framing | None = None
    weights: Tensor | None = None
    as_base: bool = False

    def __post_init__(self) -> None:
        if self.weights is None:
            return
        if self.weights.shape != self.latent.shape[1:]:
            raise ValueError(f"weights of {tuple(self.weights.shape)} for a latent of {tuple(self.latent.shape)}")
        if bool((self.weights < 0).any()) or not bool(self.weights.any()):
            raise ValueError("weights of a loss are at least 0, and not all 0")

    def to(self, device: torch.device | str) -> Example:
        weights = None if self.weights is None else self.weights.to(device)
        return replace(self, latent=self.latent.to(device), weights=weights)


@dataclass(frozen=True)
class Examples:
    """The training examples.

    Attributes:
        prior: the user's own pictures of the class, if there are any.
        notes: lines on what was cut away, enlarged, weighed and varied.
        chunks: how many chunks of a caption the text encoders read at most.
    """

    each: tuple[Example, ...]
    prior: tuple[Example, ...] = ()
    notes: tuple[str, ...] = ()
    chunks: int = 1

    @classmethod
    def of(
        cls,
        base: Base,
        concept: Concept,
        chosen: Sequence[int],
        pictures: PictureOptions = PLAIN,
        seed: int = 0,
    ) -> Examples:
        """The concept's pictures with these indices, encoded by the base or read from the cache.

        Args:
            pictures: how they are framed, weighed and varied. The default is as they are, in buckets.
            seed: of the variations.

        Raises:
            TriptychError: a picture or a mask cannot be used.
        """
        made, notes = prepared(base, concept, chosen, pictures, seed)
        each = tuple(Example(**vars(example)) for example in made)
        return cls(each, notes=tuple(notes), chunks=pictures.caption_chunks)

    @classmethod
    def made(
        cls, pictures: Sequence[Image], latents: Iterable[Tensor], templates: Sequence[str], names: Sequence[str] = ()
    ) -> Examples:
        """Pictures with their latents, each [channels, height, width], and how each is described."""
        given = zip(pictures, latents, templates, names or [""] * len(pictures), strict=True)
        return cls(tuple(Example(latent, template, picture, name) for picture, latent, template, name in given))

    def __len__(self) -> int:
        return len(self.each)

    @property
    def pictures(self) -> list[Image]:
        return [example.picture for example in self.each if example.picture is not None]

    @property
    def templates(self) -> list[str]:
        return [example.template for example in self.each]

    @property
    def names(self) -> list[str]:
        return [example.name for example in self.each if example.name]

    def prompts(self, phrase: str) -> list[str]:
        return [fill(template, phrase) for template in self.templates]

    def to(self, device: torch.device | str) -> Examples:
        each, prior = (tuple(example.to(device) for example in own) for own in (self.each, self.prior))
        return replace(self, each=each, prior=prior)


@dataclass(frozen=True)
class Batch:
    """Rows of one job: examples, noise for each [channels, height, width], times [rows], a prompt for each."""

    examples: Sequence[Example]
    noise: Sequence[Tensor]
    times: Tensor
    prompts: Sequence[str]

    def __len__(self) -> int:
        return len(self.examples)

    def __getitem__(self, rows: slice) -> Batch:
        return Batch(self.examples[rows], self.noise[rows], self.times[rows], self.prompts[rows])


@dataclass(frozen=True)
class Source:
    """A source of a job's rows: examples, a prompt for each, rows per step (`batch`), and the weight of its loss."""

    purpose: Literal["instance", "prior"]
    examples: Sequence[Example]
    prompts: Sequence[str]
    batch: int
    weight: float = 1.0
