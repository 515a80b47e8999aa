"""Prompt fidelity: how much of what the prompt names is there; by pixels, or by CLIPScore (arXiv:2104.08718)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ..scores import REAL, Score
from . import Metric
from .world import Specimen, cut_out, mask, nearest, place

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from PIL import Image

    from . import Evidence, Features
    from .encoders import TextImageEncoder

CLIP_SCALE = 2.5  # CLIPScore's w: spreads what cosines of pictures and texts really reach over 0..1


class PromptFidelity(Metric):
    """For a base with a described world: the share, 0 to 1, of the named subject, background, place and size there.

    The subject is there when, among the drawings of all subjects and the concept's own pictures (which are of the
    class word), the nearest is of the class word; where the concept is a style or a scene, when the nearest known
    drawing is of the thing that the prompt names. Of any other base: CLIPScore, 2.5 times the cosine of a picture with
    its prompt where that is positive, in practice below 1; the prompt has the class word in the concept's place.

    The real pictures are asked by their captions (method "real"): what they do not reach cannot be asked of a drawing.
    """

    name = "prompt_fidelity"
    explanation = "How much of what the prompt asks for, such as a background or a place, is in the picture."
    better = "higher"
    limits = (0.0, 1.0)

    def measure(self, evidence: Evidence) -> Iterator[Score]:
        if evidence.world is None and evidence.text_encoder is None:
            return
        drawn = evidence.of("concept")
        own = _of_drawings(evidence, [one.prompt for one in drawn])
        for one, value in zip(drawn, own, strict=True):
            if value is not None:
                yield Score(self.name, one.method, value, one.replicate, one.prompt, one.seed, one.picture)
        captions = evidence.captions
        if not captions:
            return
        for i, value in zip(captions, _of_real_pictures(evidence, captions), strict=True):
            if value is not None:
                yield Score(self.name, REAL, value, prompt=evidence.concept.pictures[i].path.name)


def _of_drawings(evidence: Evidence, prompts: Sequence[str]) -> list[float | None]:
    drawn = evidence.of("concept")
    if evidence.text_encoder is not None:
        return _by_clip(prompts, evidence.text_side_features(drawn), evidence.text_encoder)
    pictures = [one.open() for one in drawn]
    # of a scene, likeness looks at the whole
    seen = _drawings(evidence, pictures) if evidence.concept.kind == "scene" else evidence.features(drawn)
    return _by_pixels(evidence, prompts, pictures, seen)


def _of_real_pictures(evidence: Evidence, captions: Mapping[int, str]) -> list[float | None]:
    """`captions`: position of a picture in the concept -> its caption, with the class word."""
    prompts, pictures = list(captions.values()), [evidence.best[i] for i in captions]
    if evidence.text_encoder is not None:
        return _by_clip(prompts, evidence.text_encoder.images(pictures).numpy(), evidence.text_encoder)
    return _by_pixels(evidence, prompts, pictures, _drawings(evidence, pictures), itself=list(captions))


def _drawings(evidence: Evidence, pictures: Sequence[Image.Image]) -> Features:
    return evidence.image_encoder.images([cut_out(picture) for picture in pictures]).numpy()


def _by_pixels(
    evidence: Evidence,
    prompts: Sequence[str],
    pictures: Sequence[Image.Image],
    seen: Features,
    itself: Sequence[int] = (),
) -> list[float | None]:
    """The share of what is asked for that is there; None where a prompt asks for nothing that can be looked for.

    A scene has a background of its own, from which place and size cannot be told by pixels either. `itself`: where the
    pictures are the concept's own, their positions in it: none is recognised by itself.
    """
    concept, world = evidence.concept, evidence.world
    assert world is not None
    own = concept.images(evidence.resolution) if concept.kind == "subject" else []
    known = [*world.gallery, *(Specimen(concept.class_word, picture) for picture in own)]
    values: list[float | None] = []
    but = {row: len(world.gallery) + i for row, i in enumerate(itself)} if own else {}
    subjects = nearest(seen, known, evidence.image_encoder, but)
    for prompt, picture, subject in zip(prompts, pictures, subjects, strict=True):
        asked, pixels = world.asked(prompt), np.asarray(picture)
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


def _by_clip(prompts: Sequence[str], shown: Features, encoder: TextImageEncoder) -> list[float | None]:
    different = sorted(set(prompts))
    said = dict(zip(different, encoder.texts(different).numpy(), strict=True))
    return [
        CLIP_SCALE * max(0.0, float(feature @ said[prompt])) for prompt, feature in zip(prompts, shown, strict=True)
    ]
