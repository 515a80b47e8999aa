"""How consistent the scenes of a set are, and how much of their prompts is in them, beside plain sampling."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ..base import Base
from ..data.concept import DEFAULT_TOKEN, Concept
from ..metrics import Shown
from ..metrics.encoders import ImageEncoder
from ..metrics.pairs import pseudo_values
from ..metrics.prompt_fidelity import PromptFidelity
from ..metrics.subject_fidelity import SubjectFidelity
from ..metrics.world import cut_out
from ..prompt.words import whole_word
from ..sampling.sharing import subject_in
from ..scores import BASE
from .judges import Judges, values_of
from .sample import Sampled

if TYPE_CHECKING:
    from PIL.Image import Image

GREY = (128, 128, 128)
Values = NDArray[np.float64]


@dataclass(frozen=True)
class Scene:
    """A picture: the number of its scene and of its set, its file, and how it was sampled."""

    number: int
    set: int
    path: Path
    sampled: Sampled


@dataclass(frozen=True)
class Arm:
    """One way of sampling the scenes."""

    name: str
    scenes: Sequence[Scene]


@dataclass(frozen=True)
class Measured:
    """What was measured of one way of sampling, as means over scenes and sets.

    Attributes:
        values: criterion -> its mean. "consistency" is the mean cosine of pictures of different scenes of a set, as the
            image encoder sees them; "subject consistency" that of the subject alone.
        gains: criterion -> how much more it is than with plain sampling, and the standard error over scenes.
    """

    name: str
    values: Mapping[str, float]
    gains: Mapping[str, tuple[float, float]] = field(default_factory=dict)

    def __str__(self) -> str:
        said = []
        for name, value in self.values.items():
            gain = "" if name not in self.gains else " ({:+.3f} ± {:.3f})".format(*self.gains[name])
            said.append(f"{name} {value:.3f}{gain}")
        return f"{self.name}: {', '.join(said)}"


def fidelities(
    arms: Sequence[Arm], base: Base, encoder: ImageEncoder, judges: Judges, subject: str, words: Sequence[str]
) -> dict[Path, dict[str, float]]:
    """Of each picture how much of its prompt is in it, and with a concept its likeness to that; empty where nothing
    can judge.

    Where real pictures do not tell what can be read of a component, plain sampling stands for it.
    """
    concept = judges.concept or Concept((), (), "subject" if subject else "style", subject, DEFAULT_TOKEN, "scenes")
    pictures = []
    for arm in arms:
        for scene in arm.scenes:
            prompt = scene.sampled.job.prompt.text
            for word in (*words, concept.token) if judges.concept else ():
                prompt = whole_word(word).sub(lambda _: concept.class_word, prompt)
            method = BASE if arm is arms[0] else arm.name
            seed = scene.sampled.single.seeds[0]
            pictures.append(Shown(method, scene.set, "concept", prompt, seed, scene.path, str(scene.path)))
    criteria = (PromptFidelity(), *((SubjectFidelity(),) if judges.concept else ()))
    return values_of(judges.evidence(base, concept, pictures, encoder), criteria)


def measured(
    arms: Sequence[Arm], encoder: ImageEncoder, fidelity: Mapping[Path, Mapping[str, float]], subject: str,
    world: bool,
) -> list[Measured]:  # fmt: skip
    """What was measured of each way, the first being the plain one.

    Args:
        subject: the word whose map of attention shows the subject; "" if there is none.
        world: the base draws one thing on a plain background, so that pixels show the subject.
    """
    of_each = [_by_scene(arm, encoder, fidelity, subject, world) for arm in arms]
    found = []
    for arm, own in zip(arms, of_each, strict=True):
        gains = {} if arm is arms[0] else {name: _gain(values - of_each[0][name]) for name, values in own.items()}
        found.append(Measured(arm.name, {name: float(values.mean()) for name, values in own.items()}, gains))
    return found


def _gain(differences: Values) -> tuple[float, float]:
    return float(differences.mean()), float(differences.std(ddof=1) / len(differences) ** 0.5)


def _by_scene(
    arm: Arm, encoder: ImageEncoder, fidelity: Mapping[Path, Mapping[str, float]], subject: str, world: bool
) -> dict[str, Values]:
    """Criterion -> its value for each scene, as the mean over sets [scenes]."""
    views = {"consistency": [scene.sampled.picture for scene in arm.scenes]}
    if world:
        views["subject consistency"] = [cut_out(picture) for picture in views["consistency"]]
    elif subject:
        views["subject consistency"] = [_alone(scene, subject) for scene in arm.scenes]
    found = {name: _consistency(arm.scenes, encoder.images(pictures).numpy()) for name, pictures in views.items()}
    count = 1 + max(scene.number for scene in arm.scenes)
    for name in dict.fromkeys(name for values in fidelity.values() for name in values):
        own = [
            [fidelity[scene.path][name] for scene in arm.scenes if scene.number == k and name in fidelity[scene.path]]
            for k in range(count)
            if any(scene.path in fidelity for scene in arm.scenes if scene.number == k)
        ]
        found[name.replace("_", " ")] = np.array([np.mean(values) for values in own if values])
    return found


def _consistency(scenes: Sequence[Scene], features: NDArray[np.float32]) -> Values:
    """The mean cosine of scenes of a set, as one value per scene with the right spread, see `metrics.pairs`."""
    sets = sorted({scene.set for scene in scenes})
    rows = [[i for i, scene in enumerate(scenes) if scene.set == number] for number in sets]
    values: Values = np.mean([pseudo_values(features[own].astype(np.float64)) for own in rows], axis=0)
    return values


def _alone(scene: Scene, subject: str) -> Image:
    """The picture with grey where the attention to the subject is low, cut to the rest."""
    from PIL import Image
    from PIL.Image import Resampling

    picture = scene.sampled.picture
    inside = subject_in(scene.sampled.heat[subject]).numpy()
    mask = Image.fromarray((inside * 255).astype(np.uint8)).resize(picture.size, Resampling.BILINEAR)
    alone = Image.composite(picture, Image.new("RGB", picture.size, GREY), mask)
    return alone.crop(mask.getbbox() or (0, 0, *picture.size))
