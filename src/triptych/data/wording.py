"""What captions alone tell: missing ones, equal ones, and words in all of them that should belong to the concept."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from .findings import Finding

if TYPE_CHECKING:
    from .concept import Concept

FEWEST = 4  # captions by which a word in all of them means something
SHARE = 0.8  # part of the captions that have a word
# fmt: off
PLAIN = frozenset({  # words that say nothing about what should be learned
    "a", "an", "and", "are", "as", "at", "background", "by", "drawing", "for", "from", "her", "his", "i", "image", "in",
    "is", "it", "its", "my", "of", "on", "one", "photo", "photograph", "picture", "scene", "she", "he", "shot", "some",
    "that", "the", "their", "this", "to", "up", "with", "left", "right", "centre", "center", "front", "large", "small",
})
# fmt: on


def look(concept: Concept, known: Iterable[str] = ()) -> Iterator[Finding]:
    """The findings about a concept's captions. `known`: more words that say nothing, such as those of a base."""
    captions = {picture.name: picture.caption for picture in concept.pictures}
    given = {name: caption for name, caption in captions.items() if caption}
    if given and len(given) < len(captions):
        for name in (name for name in captions if name not in given):
            yield Finding("no-caption", "no caption, although others have one: the default is used", name)
    if len(given) >= FEWEST and len(set(given.values())) == 1:
        yield Finding("same-captions", f"all {len(given)} captions are the same: {next(iter(given.values()))!r}")
        return
    plain = {*PLAIN, *known, *_words(concept.class_word), *_words(concept.token)}
    for word, count in _common(list(given.values())):
        if word not in plain:
            yield Finding(
                "trait-in-captions",
                f"{count} of {len(given)} captions say {word!r}: what is said there is learned by the caption, not by"
                " the concept's word; leave it out where it belongs to the concept",
                value=count / len(given),
            )


def _common(captions: Sequence[str]) -> list[tuple[str, int]]:
    if len(captions) < FEWEST:
        return []
    counts = Counter(word for caption in captions for word in set(_words(caption)))
    return [(word, count) for word, count in counts.most_common() if count >= SHARE * len(captions)]


def _words(text: str) -> list[str]:
    return re.findall(r"[^\W\d_]+", text.lower())
