"""What judges pictures that were sampled for a comparison: encoders, the base's world, and the concept's folder."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..base import Base
from ..data.concept import KINDS, Concept
from ..metrics import Evidence, Metric, Shown
from ..metrics.encoders import ImageEncoder, PromptScorer, open_encoder
from ..metrics.world import World


@dataclass(frozen=True)
class Judges:
    """What pictures are measured with. Names that are empty stand for the base's own.

    Attributes:
        concept: what the files were trained on; None: likeness to it is not measured.
        image_encoder: a name, a folder or a hub id; sees how far pictures are from each other.
        text_encoder: the same, of an encoder that reads texts, too, or of a model that answers questions.
    """

    concept: Concept | None = None
    image_encoder: str = ""
    text_encoder: str = ""

    def encoder(self, base: Base) -> ImageEncoder:
        """
        Raises:
            TriptychError: there is no such encoder.
        """
        usual = base.description.image_encoders(self.concept.kind if self.concept else KINDS[0])
        return open_encoder(self.image_encoder or usual[0], "image", str(base.device))

    def evidence(self, base: Base, concept: Concept, shown: Sequence[Shown], encoder: ImageEncoder) -> Evidence:
        """Pictures for criteria: prompts are judged by an encoder of texts, or by pixels where the base's world is
        known.

        Raises:
            TriptychError: there is no such encoder of texts, or the world cannot be read.
        """
        text, population = self.text_encoder or base.description.text_encoder, base.description.population
        judge = open_encoder(text, "prompt", str(base.device)) if text else None
        scorer, reads = (judge, None) if isinstance(judge, PromptScorer) else (None, judge)
        world = World.open(base.folder) if base.folder and not judge else None
        known = {name: tuple(values) for name, values in population.words.items()}
        words = {**(world.words if world else {}), **known}
        return Evidence(
            concept, shown, encoder, base.resolution, reads, world, None, words, scorer, population.statements
        )


def values_of(evidence: Evidence, criteria: Iterable[Metric]) -> dict[Path, dict[str, float]]:
    """Path of a picture -> name of a criterion -> its value."""
    found: dict[Path, dict[str, float]] = {}
    for criterion in criteria:
        for score in criterion.measure(evidence):
            if score.metric == criterion.name and score.picture:
                found.setdefault(Path(score.picture), {})[score.metric] = score.value
    return found
