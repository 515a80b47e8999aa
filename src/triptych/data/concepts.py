"""Several concepts for one training: a folder for each, or folders whose names or list give them words of their own."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from fractions import Fraction
from hashlib import sha256
from math import gcd, lcm
from typing import TYPE_CHECKING

from ..errors import TriptychError
from ..units import listed
from .concept import Concept, layouts_in

if TYPE_CHECKING:
    from pathlib import Path


def open_concepts(
    places: Sequence[Path],
    *,
    kind: str | None = None,
    class_words: Sequence[str] = (),
    tokens: Sequence[str] = (),
    only: str | None = None,
) -> tuple[Concept, ...]:
    """The concepts at several places, in their order.

    A place is a concept, unless its folders have different words (`10_sks cat`, `5_ohwx dog`). Words that are given, or
    that `concept.toml` states, are those of the whole place. How often pictures are shown holds across all concepts.

    Args:
        class_words, tokens: one for each place; none, or one for all.
        only: the words of one concept of each place.

    Raises:
        TriptychError: the numbers do not go together, or as `Concept.open`.
    """
    words = zip(_for_each(places, "class words", class_words), _for_each(places, "tokens", tokens), strict=True)
    found = [
        (Concept.laid_out(place, layout, kind=kind, class_word=class_word, token=token), layout.weight)
        for place, (class_word, token) in zip(places, words, strict=True)
        for layout in layouts_in(place, class_word=class_word, token=token, only=only)
    ]
    common = _common([weight for _, weight in found])
    return tuple(_shown(concept, int(weight / common)) for concept, weight in found)


def of_classes(concepts: Sequence[Concept], folder: Path | None, kind: str | None = None) -> tuple[Concept, ...]:
    """The user's own pictures of the concepts' classes, one for each class that has some.

    Args:
        folder: with pictures of the class, or with kohya's folders of several (`1_cat`, `1_dog`); None: those beside
            the concepts.

    Raises:
        TriptychError: it does not say which class it shows, or as `Concept.open`.
    """
    words = dict.fromkeys(concept.class_word for concept in concepts)
    if folder is None:
        beside = {concept.class_word: concept.class_folder for concept in concepts if concept.class_folder}
        return tuple(Concept.open(place, kind=kind, class_word=word) for word, place in beside.items())
    if len(words) == 1:
        return (Concept.open(folder, kind=kind, class_word=concepts[0].class_word),)
    found = tuple(each for each in open_concepts([folder], kind=kind) if each.class_word in words)
    if not found:
        raise TriptychError(
            f"{folder} does not say which of {listed(list(words))} its pictures show: put them into folders in it, such"
            f" as '1_{concepts[0].class_word}'"
        )
    return found


def digest_of(concepts: Sequence[Concept]) -> str:
    """SHA-256 over all that the concepts are; of one concept its own."""
    digests = [concept.digest for concept in concepts]
    return digests[0] if len(digests) == 1 else sha256(" ".join(digests).encode()).hexdigest()


def _for_each(places: Sequence[Path], what: str, given: Sequence[str]) -> Sequence[str | None]:
    if len(given) not in (0, 1, len(places)):
        raise TriptychError(f"{len(given)} {what} for {len(places)} folders: give one for all, or one for each")
    return [(given[i] if len(given) > 1 else given[0]) or None if given else None for i in range(len(places))]


def _common(weights: Iterable[Fraction]) -> Fraction:
    """The greatest fraction by which all weights are whole numbers."""
    known = list(weights)
    below = lcm(*(weight.denominator for weight in known))
    return Fraction(gcd(*(int(weight * below) for weight in known)), below)


def _shown(concept: Concept, times: int) -> Concept:
    if times == 1:
        return concept
    pictures = (replace(picture, repeats=picture.repeats * times) for picture in concept.pictures)
    return replace(concept, pictures=tuple(pictures))
