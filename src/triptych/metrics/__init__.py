"""What is measured: one file a criterion, found by being in this folder, and the evidence that all of them share.

A new criterion is a new file with one class that derives from `Metric` (see `plugins`); nothing else has to know of it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, ClassVar, Literal

from ..data.concept import fill
from ..plugins import Plugins
from ..scores import BASE, CONTROLS
from .patches import Subjects, sees_patches

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray
    from PIL import Image

    from ..data.concept import Concept
    from ..scores import Score
    from .encoders import ImageEncoder, PromptScorer, TextImageEncoder
    from .world import World

    Features = NDArray[np.float32]

Role = Literal["concept", "again", "class", "unrelated", "other-base", "choose"]

CHUNK = 64  # sampled pictures that are open at one time


@dataclass(frozen=True)
class Shown:
    """One picture that a method (or the bare base, `scores.BASE`, in replicate 0 only) drew.

    `prompt` is the asked text with the class word in the concept's place. Its role: "concept" was asked for by the
    method's own words, and "again" for the same with another seed; "class" by the class word alone, on some of the same
    prompts and seeds (the very same pictures where the method has no word of its own); "unrelated" for something that
    has nothing to do with the concept; "other-base" as "concept", but sampled on another base; "choose" as "concept",
    by prompts that choose a method's strength and moment and that no criterion sees. `picture` is its path relative to
    the study folder.
    """

    method: str
    replicate: int
    role: Role
    prompt: str
    seed: int
    path: Path
    picture: str

    def open(self) -> Image.Image:
        """The picture as RGB."""
        from PIL import Image

        with Image.open(self.path) as picture:
            return picture.convert("RGB")


@dataclass
class Evidence:
    """Everything a criterion may look at. Pictures are encoded once, in batches, when a criterion first asks for them.

    `resolution` is that of the base, in pixels; the real pictures are scaled to it, as squares. `redrawn` are the real
    pictures as the base's autoencoder gives them back, the best that the base can draw: what is asked of drawings
    is measured on them, so that an autoencoder's loss is not held against a method. A `scorer` of prompts, a
    `text_encoder` or a `world` lets prompt fidelity be measured, the first of them that is there. Where a `world` tells
    the drawing from its background, likeness is that of drawings: background, place and size are the prompt's and not
    the concept's, unless the concept is a scene. Where `masks` tell the subject of real pictures, likeness is that of
    its patches (`patches.py`), if the encoder sees patches.
    """

    concept: Concept
    drawn: Sequence[Shown]
    image_encoder: ImageEncoder
    resolution: int
    text_encoder: TextImageEncoder | None = None
    world: World | None = None
    redrawn: Sequence[Sequence[Image.Image]] | None = None  # squares of each; None: as they are
    words: Mapping[str, Sequence[str]] = field(default_factory=dict)  # component of prompts -> the values it can have
    scorer: PromptScorer | None = None
    statements: Mapping[str, str] = field(default_factory=dict)  # component -> what a scorer is asked; see `Population`
    kept_scores: Path | None = None  # the file where a scorer's answers are kept
    masks: Sequence[Image.Image | None] | None = None  # of the real pictures, as large as these; None: none is known
    whole: bool = False  # the image encoder sees all squares of a real picture (`Concept.views`), not the middle alone

    def of(self, role: Role, method: str | None = None) -> list[Shown]:
        """The sampled pictures of a role, of one method or of all."""
        return [sample for sample in self.drawn if sample.role == role and method in (None, sample.method)]

    @cached_property
    def replicates(self) -> tuple[int, ...]:
        """The training runs, sorted: those of the methods, or (0,) where only the bare base sampled."""
        return tuple(sorted({sample.replicate for sample in self.drawn if sample.method not in CONTROLS})) or (0,)

    def likeness(self, samples: Sequence[Shown]) -> list[float]:
        """Of each sampled picture, the mean likeness, -1..1, to the real pictures that its training run held out.

        Likeness is the cosine of the features, or that of the subject's patches where masks tell it. The bare base
        belongs to no run: it is held against what each run held out, and the mean is its value.
        """
        held_out = {run: list(self.concept.split(run).held_out) for run in self.replicates}
        if self.subjects is None:
            centres = {run: self.real_features[chosen].mean(axis=0) for run, chosen in held_out.items()}
            rows = [{run: feature @ centre for run, centre in centres.items()} for feature in self.features(samples)]
        else:
            near = _rows(self._by_patches, samples)
            rows = [{run: row[chosen].mean() for run, chosen in held_out.items()} for row in near]
        found = []
        for sample, row in zip(samples, rows, strict=True):
            runs = self.replicates if sample.method == BASE else (sample.replicate,)
            found.append(sum(float(row[run]) for run in runs) / len(runs))
        return found

    @property
    def real_likeness(self) -> Features:
        """[pictures, pictures] of the concept: how like each as the base could draw it is to each as it is."""
        if self.subjects is None:
            return self.redrawn_features @ self.real_features.T
        return self.subjects.likeness(self.best)

    @cached_property
    def subjects(self) -> Subjects | None:
        """The subjects of the real pictures as patches; None where no mask tells them, or the encoder sees none."""
        if self.masks is None or not sees_patches(self.image_encoder):
            return None
        return Subjects(self.image_encoder, self.concept.images(self.resolution), self.masks)

    def features(self, samples: Iterable[Shown]) -> Features:
        """[pictures, d], rows of length 1: what the image encoder sees in sampled pictures.

        Of those that nothing of the concept was asked for ("unrelated") it sees the whole, always.
        """
        return _rows(self._by_image_encoder, samples)

    def text_side_features(self, samples: Iterable[Shown]) -> Features:
        """[pictures, d], rows of length 1: what the text encoder's image side sees in sampled pictures."""
        return _rows(self._by_text_encoder, samples)

    @cached_property
    def real_features(self) -> Features:
        """[pictures of the concept, d], rows of length 1."""
        return self._covering(self.concept.views(self.resolution, whole=self.whole))

    @cached_property
    def redrawn_features(self) -> Features:
        """[pictures of the concept, d], rows of length 1: the real pictures through the base's autoencoder."""
        if self.redrawn is None:
            return self.real_features
        return self._covering(self.redrawn)

    def _covering(self, views: Sequence[Sequence[Image.Image]]) -> Features:
        return covering(self.image_encoder, [[*map(self._subject, own)] for own in views])

    @property
    def best(self) -> Sequence[Image.Image]:
        """The real pictures as the base could draw them."""
        return self.concept.images(self.resolution) if self.redrawn is None else [own[0] for own in self.redrawn]

    @property
    def captions(self) -> dict[int, str]:
        """Position of a picture in the concept -> its caption with the class word; of those that have one."""
        templates = enumerate(self.concept.templates(""))
        return {i: fill(template, self.concept.class_word) for i, template in templates if template}

    def _subject(self, picture: Image.Image) -> Image.Image:
        if self.world is None or self.concept.kind == "scene":
            return picture
        from .world import cut_out

        return cut_out(picture)

    @cached_property
    def _by_image_encoder(self) -> dict[Path, Features]:
        whole = [sample for sample in self.drawn if sample.role == "unrelated"]
        rest = [sample for sample in self.drawn if sample.role != "unrelated"]
        return _encode(self.image_encoder, whole) | _encode(self.image_encoder, rest, self._subject)

    @cached_property
    def _by_patches(self) -> dict[Path, Features]:
        assert self.subjects is not None
        return _encoded(self.subjects.likeness, [sample for sample in self.drawn if sample.role != "unrelated"])

    @cached_property
    def _by_text_encoder(self) -> dict[Path, Features]:
        return _encode(self.text_encoder, self.drawn) if self.text_encoder else {}


class Metric(ABC):
    """One criterion. `name` is that of its scores, `explanation` one plain sentence for the report.

    `limits`: the least and the greatest value that it can have.
    """

    name: ClassVar[str]
    explanation: ClassVar[str]
    better: ClassVar[Literal["higher", "lower"]]
    limits: ClassVar[tuple[float, float]] = (-1.0, 1.0)

    @abstractmethod
    def measure(self, evidence: Evidence) -> Iterator[Score]:
        """Its scores; none where the evidence does not allow it."""


PLUGINS = Plugins[Metric](Metric, __name__, "triptych.metrics")


def metrics() -> Mapping[str, Metric]:
    """Every criterion by name: those of this folder, and those of other packages. Ours do not import torch."""
    return PLUGINS.instances()


def measure(evidence: Evidence) -> list[Score]:
    """All criteria over one body of evidence."""
    return [score for metric in metrics().values() for score in metric.measure(evidence)]


def _encode(
    encoder: ImageEncoder,
    samples: Sequence[Shown],
    view: Callable[[Image.Image], Image.Image] = lambda picture: picture,
) -> dict[Path, Features]:
    return _encoded(lambda pictures: encoder.images([*map(view, pictures)]).numpy(), samples)


def covering(encoder: ImageEncoder, views: Sequence[Sequence[Image.Image]]) -> Features:
    """[pictures, d], rows of length 1: what an encoder sees in the squares of each picture, in the mean."""
    import numpy as np

    seen = encoder.images([view for own in views for view in own]).numpy()
    if len(seen) == len(views):
        return seen
    ends = np.cumsum([len(own) for own in views])[:-1]
    means = np.stack([rows.mean(axis=0) for rows in np.split(seen, ends)])
    return np.asarray(means / np.linalg.norm(means, axis=1, keepdims=True))


def _encoded(see: Callable[[Sequence[Image.Image]], Features], samples: Sequence[Shown]) -> dict[Path, Features]:
    """The row of each different picture."""
    different = list({sample.path: sample for sample in samples}.values())
    features: dict[Path, Features] = {}
    for start in range(0, len(different), CHUNK):
        chunk = different[start : start + CHUNK]
        seen = see([sample.open() for sample in chunk])
        features.update(zip((sample.path for sample in chunk), seen, strict=True))
    return features


def _rows(features: dict[Path, Features], samples: Iterable[Shown]) -> Features:
    import numpy as np

    rows = [features[sample.path] for sample in samples]
    return np.stack(rows) if rows else np.zeros((0, 0), np.float32)
