"""Prompt fidelity: how much of what the prompt names is there; by pixels, or by CLIPScore (arXiv:2104.08718)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ..scores import Score
from . import Metric
from .world import Specimen, cut_out, mask, nearest, place

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from . import Drawn, Evidence
    from .encoders import TextImageEncoder
    from .world import World

CLIP_SCALE = 2.5  # CLIPScore's w: spreads what cosines of pictures and texts really reach over 0..1


class PromptFidelity(Metric):
    """For a base with a described world: the share, 0 to 1, of the named subject, background, place and size there.

    The subject is there when, among the drawings of all subjects and the concept's own pictures (which are of the
    class word), the nearest is of the class word; where the concept is a style or a scene, when the nearest known
    drawing is of the thing that the prompt names. Of any other base: CLIPScore, 2.5 times the cosine of a picture with
    its prompt where that is positive, in practice below 1; the prompt has the class word in the concept's place.
    """

    name = "prompt_fidelity"
    explanation = "How much of what the prompt asks for, such as a background or a place, is in the picture."
    better = "higher"
    limits = (0.0, 1.0)

    def measure(self, evidence: Evidence) -> Iterator[Score]:
        drawn = evidence.of("concept")
        if evidence.world is not None:
            values = _by_pixels(evidence, evidence.world, drawn)
        elif evidence.text_encoder is not None:
            values = _by_clip(evidence, evidence.text_encoder, drawn)
        else:
            return
        for one, value in zip(drawn, values, strict=True):
            if value is not None:
                yield Score(self.name, one.method, value, one.replicate, one.prompt, one.seed, one.picture)


def _by_pixels(evidence: Evidence, world: World, drawn: Sequence[Drawn]) -> list[float | None]:
    """The share of what is asked for that is there; None where a prompt asks for nothing that can be looked for.

    A scene has a background of its own, from which place and size cannot be told by pixels either.
    """
    concept = evidence.concept
    own = concept.images(evidence.resolution) if concept.kind == "subject" else []
    known = [*world.gallery, *(Specimen(concept.class_word, picture) for picture in own)]
    pictures = [one.open() for one in drawn]
    values: list[float | None] = []
    if concept.kind == "scene":  # of which likeness looks at the whole
        seen = evidence.image_encoder.images([cut_out(picture) for picture in pictures]).numpy()
    else:
        seen = evidence.features(drawn)
    subjects = nearest(seen, known, evidence.image_encoder)
    for one, picture, subject in zip(drawn, pictures, subjects, strict=True):
        asked, pixels = world.asked(one.prompt), np.asarray(picture)
        pairs: list[tuple[str | None, str | None]] = [
            (concept.class_word if concept.kind == "subject" else asked.subject, subject)
        ]
        if concept.kind != "scene":
            drawing = mask(pixels)
            pairs += [
                (asked.background, world.background(pixels)),
                (asked.place, place(drawing)),
                (asked.size, world.size(drawing)),
            ]
        there = [named == found for named, found in pairs if named]
        values.append(sum(there) / len(there) if there else None)
    return values


def _by_clip(evidence: Evidence, encoder: TextImageEncoder, drawn: Sequence[Drawn]) -> list[float | None]:
    prompts = sorted({one.prompt for one in drawn})
    said = dict(zip(prompts, encoder.texts(prompts).numpy(), strict=True))
    shown = evidence.text_side_features(drawn)
    return [CLIP_SCALE * max(0.0, float(feature @ said[one.prompt])) for one, feature in zip(drawn, shown, strict=True)]
