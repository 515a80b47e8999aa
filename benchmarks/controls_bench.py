"""What the judging of controls shares: prompts drawn from a described world, what reads pictures, and rates."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from statistics import fmean
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from triptych.base import Base
from triptych.data.concept import Concept
from triptych.data.examples import Examples
from triptych.exchange.artifact import Artifact
from triptych.methods import method_named
from triptych.metrics.encoders import open_encoder
from triptych.metrics.things import Things
from triptych.metrics.world import World, border_colour, mask
from triptych.sampling.controls import Controls
from triptych.sampling.generate import sample
from triptych.sampling.request import Request
from triptych.training.fit import Trial, fit

LORA_STEPS = 120
Pixels = NDArray[np.float64]


class Asked(NamedTuple):
    """A prompt's parts, drawn at random from the world, and the seed of its picture."""

    thing: str
    other: str
    style: str
    ground: str
    other_ground: str
    seed: int

    @property
    def prompt(self) -> str:
        return self.of(self.thing)

    def of(self, thing: str, ground: str = "", place: str = "") -> str:
        words = ("a", self.style, thing, place, f"on a {ground or self.ground} background")
        return " ".join(filter(None, words))


@dataclass(frozen=True)
class Rate:
    """What was seen of a control.

    Attributes:
        value: a share of `count` pictures, or a mean over them.
        least, most: what is wished of it; None: it is told for comparison.
    """

    control: str
    what: str
    value: float
    count: int
    least: float | None = None
    most: float | None = None

    @property
    def met(self) -> bool:
        return (self.least is None or self.value >= self.least) and (self.most is None or self.value <= self.most)


class Bench:
    """A base with a described world, what reads its pictures, and prompts drawn from the world.

    Args:
        seed: of the prompts and the pictures.
        count: pictures of an edit; other controls have a half of them or fewer.
    """

    def __init__(self, base: Base, seed: int, count: int) -> None:
        world = World.open(base.folder) if base.folder else None
        assert world, "the base describes no world"
        self.base, self.world, self.seed, self.count = base, world, seed, count
        self.encoder = open_encoder(base.description.image_encoders("subject")[0], "image")
        self.things = Things(world.gallery, self.encoder)
        self.shown: dict[str, list[Image.Image]] = {}  # pictures by what they are of, for looking at

    def asked(self, count: int = 0, thing: str = "", other: str = "") -> list[Asked]:
        random, found = np.random.default_rng(self.seed), []
        styles, grounds = self.base.description.population.words["style"], list(self.world.backgrounds)
        for i in range(count or self.count // 2):
            two = [str(name) for name in random.choice(self.things.names, 2, replace=False)]
            colours = [str(name) for name in random.choice(grounds, 2, replace=False)]
            style = str(random.choice(styles))
            found.append(Asked(thing or two[0], other or two[1], style, *colours, 1000 * self.seed + i))
        return found

    def sample(self, name: str, requests: Sequence[Request], **controls: Any) -> list[Image.Image]:
        """A picture of each request; they are kept under a name."""
        found = [own[0] for own in sample(self.base, requests, controls=Controls(**controls))]
        self.shown[name] = found
        return found

    def right(self, pictures: Sequence[Image.Image], things: Sequence[str]) -> float:
        """The share of pictures that show their thing."""
        return share(shown == thing for shown, thing in zip(self.things.shown(pictures), things, strict=True))

    def ground(self, picture: Image.Image) -> str | None:
        return self.world.background(np.asarray(picture.convert("RGB")))

    def grounds(self, pictures: Sequence[Image.Image], names: Sequence[str]) -> float:
        """The share of pictures that have their background."""
        return share(self.ground(picture) == name for picture, name in zip(pictures, names, strict=True))

    def distances(self, one: Sequence[Image.Image], other: Sequence[Image.Image]) -> NDArray[np.float32]:
        """1 - cosine of what the image encoder sees of pictures, pair by pair."""
        seen = [self.encoder.images(list(pictures)).numpy() for pictures in (one, other)]
        return np.asarray(1 - (seen[0] * seen[1]).sum(1))

    @cached_property
    def lora(self) -> Artifact:
        """A style, trained for a short time."""
        concept = Concept.open(Path(__file__).parents[1] / "examples" / "outline")
        settings = method_named("lora").configure(self.base.description.methods["lora"], {"steps": LORA_STEPS})
        examples = Examples.of(self.base, concept, range(len(concept.pictures)))
        fitted = fit(self.base, [Trial("lora", settings, examples, concept.class_word, seed=self.seed)])[0]
        return Artifact("lora", settings, fitted.tensors)


def share(found: Iterable[Any]) -> float:
    return fmean(bool(one) for one in found)


def pixels(picture: Image.Image) -> Pixels:
    return np.asarray(picture.convert("RGB"), np.float64)


def change(one: Image.Image, other: Image.Image) -> NDArray[np.float64]:
    """[height, width]: the greatest change of a channel, in levels of 255."""
    return np.asarray(np.abs(pixels(one) - pixels(other)).max(axis=2))


def halves(picture: Image.Image) -> tuple[Image.Image, Image.Image]:
    """The left and the right half, each in the middle of a square of its border's colour."""
    side, found = picture.height, []
    for left in (0, picture.width // 2):
        half = picture.crop((left, 0, left + picture.width // 2, side))
        r, g, b = (int(value) for value in border_colour(np.asarray(half)))
        square = Image.new("RGB", (side, side), (r, g, b))
        square.paste(half, ((side - half.width) // 2, 0))
        found.append(square)
    return found[0], found[1]


def overlap(one: Image.Image, other: Image.Image) -> float:
    """Of two drawings: the area that they share, of the area that either has."""
    a, b = (mask(np.asarray(picture.convert("RGB"))) for picture in (one, other))
    return float((a & b).sum() / max((a | b).sum(), 1))
