"""What judges pictures that were sampled for a comparison: encoders, the base's world, and the concept's folder."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..base import Base
from ..data.concept import Concept
from ..metrics import Evidence, Metric, Shown
from ..metrics.encoders import ImageEncoder, open_encoder
from ..metrics.world import World


@dataclass(frozen=True)
class Judges:
    """What pictures are measured with. Names that are empty stand for the base's own.

    Attributes:
        concept: what the files were trained on; None: likeness to it is not measured.
        image_encoder: a name, a folder or a hub id; sees how far pictures are from each other.
        text_encoder: the same, of an encoder that reads texts, too.
    """

    concept: Concept | None = None
    image_encoder: str = ""
    text_encoder: str = ""

    def encoder(self, base: Base) -> ImageEncoder:
        """
        Raises:
            TriptychError: there is no such encoder.
        """
        return open_encoder(self.image_encoder or base.description.image_encoder, "image", str(base.device))

    def evidence(self, base: Base, concept: Concept, shown: Sequence[Shown], encoder: ImageEncoder) -> Evidence:
        """Pictures for criteria: prompts are judged by an encoder of texts, or by pixels where the base's world is
        known.

        Raises:
            TriptychError: there is no such encoder of texts, or the world cannot be read.
        """
        text = self.text_encoder or base.description.text_encoder
        reads = open_encoder(text, "text", str(base.device)) if text else None
        world = World.open(base.folder) if base.folder and not reads else None
        known = {name: tuple(values) for name, values in base.description.population.words.items()}
        words = {**(world.words if world else {}), **known}
        return Evidence(concept, shown, encoder, base.resolution, reads, world, None, words)


def values_of(evidence: Evidence, criteria: Iterable[Metric]) -> dict[Path, dict[str, float]]:
    """Path of a picture -> name of a criterion -> its value."""
    found: dict[Path, dict[str, float]] = {}
    for criterion in criteria:
        for score in criterion.measure(evidence):
            if score.metric == criterion.name and score.picture:
                found.setdefault(Path(score.picture), {})[score.metric] = score.value
    return found
