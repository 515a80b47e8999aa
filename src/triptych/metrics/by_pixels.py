"""Judges prompts by pixels, for a base whose world is described: thing, background, place and size."""

from __future__ import annotations

from functools import cached_property
from itertools import cycle, islice
from typing import TYPE_CHECKING

import numpy as np

from .components import Grades, chance, grade, rank
from .things import Things
from .world import Specimen, composed, mask

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from PIL import Image

    from . import Evidence, Features, Shown
    from .world import World

RENDERS = 24  # real drawings that are put on plain backgrounds, at places and in sizes that are known


class ByPixels:
    """Reads pictures of a described world.

    The thing: every subject's likeness is that of its most similar known drawing (the gallery's, and for a subject the
    concept's own pictures, which are of the class word); the rank is that of the subject asked for among all (see
    `Things`).

    The background: the rank of its colour by the border's distance in CIELAB, where "none of these" lies at the
    distance at which a colour has no name. Place and size: by where the drawing's middle lies and which box holds it. A
    scene has a background of its own, from which place and size cannot be read, so of a scene only the thing is read.
    """

    def __init__(self, evidence: Evidence, world: World) -> None:
        self._evidence, self._world = evidence, world
        concept = evidence.concept
        self._own = concept.images(evidence.resolution) if concept.kind == "subject" else []
        self._known = [*world.gallery, *(Specimen(concept.class_word, picture) for picture in self._own)]

    @cached_property
    def _things(self) -> Things:
        return Things(self._known, self._evidence.image_encoder)

    @property
    def chance(self) -> Mapping[str, float]:
        world = self._world
        counts = {
            "thing": len(self._things.names), "background": len(world.backgrounds) + 1,
            "place": len(world.places), "size": len(world.sizes),
        }  # fmt: skip
        return {name: chance(max(1, count)) for name, count in counts.items()}

    def drawn(self, samples: Sequence[Shown]) -> list[Grades]:
        pictures = [sample.open() for sample in samples]
        # of a scene, likeness looks at the whole
        features = None if self._evidence.concept.kind == "scene" else self._evidence.features(samples)
        return self._grades([sample.prompt for sample in samples], pictures, self._things.see(pictures, features))

    def captioned(self) -> dict[int, Grades]:
        captions = self._evidence.captions
        if not captions:
            return {}
        pictures = [self._evidence.best[i] for i in captions]
        itself = {row: len(self._world.gallery) + i for row, i in enumerate(captions)} if self._own else {}
        grades = self._grades(list(captions.values()), pictures, self._things.see(pictures), itself)
        return dict(zip(captions, grades, strict=True))

    def rendered(self) -> list[Grades]:
        """The real drawings on every background in turn, at every place and in every size that has a word."""
        if self._evidence.concept.kind == "scene":
            return []
        world, found = self._world, []
        pictures = islice(cycle(self._evidence.best), RENDERS)
        grounds, compositions = cycle(world.backgrounds.items()), cycle(world.compositions)
        for picture, (name, colour), composition in zip(pictures, grounds, compositions, strict=False):
            pixels = np.asarray(composed(picture, colour, composition))
            found.append(self._surroundings(pixels, name, composition.place, composition.size))
        return found

    def _grades(
        self,
        prompts: Sequence[str],
        pictures: Sequence[Image.Image],
        seen: Features,
        itself: Mapping[int, int] | None = None,
    ) -> list[Grades]:
        """`itself`: row -> the specimen that is this very picture, by which it is not recognised."""
        concept, found = self._evidence.concept, []
        for row, (prompt, picture) in enumerate(zip(prompts, pictures, strict=True)):
            asked, grades = self._world.asked(prompt), Grades()
            thing = concept.class_word if concept.kind == "subject" else asked.subject
            if thing and thing in self._things.names:
                grades["thing"] = grade(rank(thing, self._things.distances(seen[row], (itself or {}).get(row))))
            if concept.kind != "scene":
                grades |= self._surroundings(np.asarray(picture), asked.background, asked.place, asked.size)
            found.append(grades)
        return found

    def _surroundings(self, pixels: np.ndarray, background: str | None, place: str | None, size: str | None) -> Grades:
        """Grades of what is asked for; 0 for the place and size of what is not there."""
        world, grades = self._world, Grades()
        if background:
            grades["background"] = grade(rank(background, world.background_distances(pixels)))
        region = mask(pixels) if place or size else None
        if region is not None:
            for name, value, distances in (
                ("place", place, world.place_distances(region)), ("size", size, world.size_distances(region)),
            ):  # fmt: skip
                if value:
                    grades[name] = grade(rank(value, distances)) if distances else 0.0
        return grades
