"""The prompts of a study: a stratified sample of a declared population, each prompt with its own seed.

A base declares templates by stratum, for each kind of concept, and the words that fill them (`base.description`). Their
product is the population. A study takes prompts from it in an order that depends on their text alone, one stratum after
the other. N prompts then hold the strata in equal parts, and the words of a stratum as evenly as N allows. Prompts that
are captions of the folder are left out. A quarter of the population, chosen by its text, is reserved for choosing
settings and strengths: no prompt is used for both.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from itertools import cycle, islice, product
from string import Formatter
from typing import Literal

from ..base.seeds import seed_of

Purpose = Literal["report", "choose"]
CHOOSING = 4  # one prompt in this many is reserved for choosing
LOOK = 100  # prompts of a stratum that are searched for the one with the least used words


@dataclass(frozen=True)
class Prompt:
    """A prompt with "{}" in the concept's place. `number` is the index of the picture among those of this prompt."""

    template: str
    stratum: str = ""
    number: int = 0

    def seed(self, study: int) -> int:
        """The seed of its picture, from the study's seed. It differs between prompts and between numbers."""
        return seed_of("picture", study, self.template, self.number)

    def next(self, known: Sequence[Prompt]) -> Prompt:
        """The same prompt with the next free number."""
        numbers = [prompt.number for prompt in known if prompt.template == self.template]
        return replace(self, number=max(numbers, default=self.number) + 1)


def deal(
    strata: Mapping[str, str],
    words: Mapping[str, Sequence[str]],
    count: int,
    *,
    purpose: Purpose = "report",
    without: Collection[str] = (),
    no_word: str = "",
) -> list[Prompt]:
    """Take `count` prompts, one stratum after the other. A stratum that runs out gives its prompts further pictures.

    Args:
        strata: name -> template, with "{}" for the concept and names of `words` in braces.
        words: name -> the words that may stand there.
        count: number of prompts.
        purpose: "report", or "choose" for choosing settings. No prompt serves both.
        without: templates to leave out, such as the folder's captions.
        no_word: a word that no prompt may contain, such as the class word in unrelated prompts.
    """
    banned, used = {" ".join(template.split()) for template in without}, Counter[str]()
    forbidden = re.compile(rf"(?<!\w){re.escape(no_word)}(?!\w)", re.IGNORECASE) if no_word else None
    decks: dict[str, list[_Filled]] = {}
    for name, template in strata.items():
        mine = _part(sorted(_filled(template, words), key=lambda filled: filled.order), purpose)
        kept = [
            filled for filled in mine if filled.text not in banned and not (forbidden and forbidden.search(filled.text))
        ]
        if kept:
            decks[name] = kept
    dealt: list[Prompt] = []
    taken: dict[str, list[str]] = {name: [] for name in decks}
    for name in islice(cycle(decks), count if decks else 0):
        deck, before = decks[name], taken[name]
        if deck:  # take the prompt with the least used words
            best = min(deck[:LOOK], key=lambda filled: sum(used[word] for word in filled.words))
            deck.remove(best)
            used.update(best.words)
            text = best.text
        else:
            text = min(before, key=before.count)
        dealt.append(Prompt(text, name, before.count(text)))
        before.append(text)
    return dealt


def listed(templates: Sequence[str], count: int) -> list[Prompt]:
    """`count` prompts of a list in its own order. If the list is shorter, its prompts get further pictures."""
    return [Prompt(templates[i % len(templates)], number=i // len(templates)) for i in range(count if templates else 0)]


@dataclass(frozen=True)
class _Filled:
    """A template with its words filled in. `order` is the hash of its text, by which prompts are sorted."""

    text: str
    words: tuple[str, ...]
    order: bytes


def _filled(template: str, words: Mapping[str, Sequence[str]]) -> Iterator[_Filled]:
    slots = [name for _, name, _, _ in Formatter().parse(template) if name]
    for values in product(*(words[name] for name in slots)):
        text = " ".join(template.format("{}", **dict(zip(slots, values, strict=True))).split())
        yield _Filled(text, values, sha256(text.encode()).digest())


def _part(every: Sequence[_Filled], purpose: Purpose) -> list[_Filled]:
    """The prompts for one purpose. Where there are too few for that, all of them."""
    parts: dict[Purpose, list[_Filled]] = {"report": [], "choose": []}
    for i, filled in enumerate(every):
        parts["choose" if i % CHOOSING == CHOOSING - 1 else "report"].append(filled)
    return parts[purpose] or list(every)
