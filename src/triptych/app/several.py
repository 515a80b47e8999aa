"""The concepts of one training: their examples, and the words by which the method tells them apart."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

from ..base import Base
from ..data.concept import DEFAULT_TOKEN, Concept
from ..data.concepts import digest_of
from ..data.examples import Examples
from ..errors import TriptychError
from ..exchange.recipes import CONCEPTS
from ..methods import Method
from ..study.training import provenance
from ..training.fit import NamedExamples
from ..units import counted


def settings_for(method: Method[Any], settings: Any, concepts: Sequence[Concept]) -> list[Any]:
    """The settings of each concept: of several, each has its own word, where it states one.

    Raises:
        TriptychError: the method learns one concept only, or two concepts would have the same name.
    """
    if len(concepts) == 1:
        return [method.for_concept(settings, concepts[0])]
    if method.one_concept:
        raise TriptychError(
            f"{method.name} learns one concept at a time, since {method.one_concept}: train each folder by itself"
        )
    own = [
        settings if concept.token == DEFAULT_TOKEN else method.with_identifier(settings, concept.token)
        for concept in concepts
    ]
    found = [method.for_concept(one, concept) for one, concept in zip(own, concepts, strict=True)]
    names = dict[str, str]()
    for one, concept in zip(found, concepts, strict=True):
        name = method.phrase(one, concept.class_word)
        if name in names:
            raise TriptychError(
                f"{method.name} would call both {names[name]} and {concept.name} {name!r}: give each a token or a class"
                " word of its own, as lines of its concept.toml or in its name, such as '1_sks cat'"
            )
        names[name] = concept.name
    return found


def word_not_used(method: Method[Any], settings: Any, concept: Concept) -> str:
    """A line where a folder states a word that the method does not learn; "" where there is none."""
    says = method.phrase(settings, concept.class_word)
    if concept.token == DEFAULT_TOKEN or concept.token in says.split():
        return ""
    learns = method.with_identifier(settings, concept.token) != settings
    advice = f"; it is with the setting identifier={concept.token}" if learns else ""
    return f"{method.name} calls the concept {says!r}: the word {concept.token!r} is not learned{advice}"


def named_examples(
    concepts: Sequence[Concept],
    settings: Sequence[Any],
    examples: Callable[[Concept], Examples],
    class_pictures: Sequence[Concept],
) -> list[NamedExamples]:
    """The examples of each concept, with the user's own pictures of its class, if there are any.

    Args:
        settings: of the concepts.
        examples: makes the examples of a concept.
    """
    found = []
    for concept, own in zip(concepts, settings, strict=True):
        made, theirs = examples(concept), _of_class(concept, class_pictures)
        if theirs:
            made = replace(made, prior=examples(theirs).each)
        found.append(NamedExamples(own, made, concept.class_word))
    return found


def told(
    concepts: Sequence[Concept],
    names: Sequence[str],
    learned: Sequence[NamedExamples],
    class_pictures: Sequence[Concept],
) -> Iterator[str]:
    """Lines on how pictures are prepared; on several concepts also what each is called, and its share of the training.

    Args:
        names: the words for prompts of each concept.
    """
    total = sum(len(each.examples) for each in learned)
    for concept, name, each in zip(concepts, names, learned, strict=True):
        of = f"{concept.name}: " if len(concepts) > 1 else ""
        if of:
            yield f"{of}learned as {name!r}, {len(each.examples)} of {total} examples"
        yield from (f"{of}{line}" for line in each.examples.notes)
        if theirs := _of_class(concept, class_pictures):
            yield f"{of}pictures of the class: {counted(len(theirs.pictures), 'picture')} from {theirs.name}"
        elif class_pictures:
            yield f"{of}pictures of the class are the base's own"


def _of_class(concept: Concept, class_pictures: Sequence[Concept]) -> Concept | None:
    return next((each for each in class_pictures if each.class_word == concept.class_word), None)


def origin_of(base: Base, concepts: Sequence[Concept], says: Sequence[str], seed: int) -> dict[str, str]:
    """The provenance of a file that learns these concepts, called by `says`; of several, all their words are in it."""
    first = provenance(base, concepts[0], says[0], seed)
    if len(concepts) == 1:
        return first
    words = [
        {"kind": each.kind, "class_word": each.class_word, "token": each.token, "says": name, "pictures": each.digest}
        for each, name in zip(concepts, says, strict=True)
    ]
    count = sum(len(concept.pictures) for concept in concepts)
    return first | {
        "says": ", ".join(says), "pictures": digest_of(concepts), "pictures_count": str(count),
        CONCEPTS: json.dumps(words, ensure_ascii=False),
    }  # fmt: skip
