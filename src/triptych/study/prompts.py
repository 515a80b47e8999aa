"""The prompts that a study judges by: a declared population, dealt stratum by stratum, each with a seed of its own.

A base declares, for each kind of concept, templates by stratum and the words that fill them (`base.description`). All
prompts that these give are the population. A study takes them in an order that depends on their text alone, one of each
stratum in turn, so that N prompts hold the strata in equal parts, and the words of a stratum as evenly as N allows.
Whatever a caption of the folder says is left out, and so is the part (a quarter, by the text) that settings and
strengths may be chosen by, since what chooses does not judge.
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
CHOOSING = 4  # one prompt in so many is kept for choosing
LOOK = 100  # how many of a stratum are looked at to find the one whose words came least


@dataclass(frozen=True)
class Prompt:
    """A prompt with "{}" in the concept's place. `number`: which of its pictures this is."""

    template: str
    stratum: str = ""
    number: int = 0

    def seed(self, study: int) -> int:
        """The seed of its picture in the study of that seed: no two prompts, and no two numbers, share one."""
        return seed_of("picture", study, self.template, self.number)

    def next(self, known: Sequence[Prompt]) -> Prompt:
        """The same prompt for another picture than those that are known."""
        numbers = [one.number for one in known if one.template == self.template]
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
    """`count` prompts, the strata in turn. Once a stratum has no other prompt it gives its first ones a second picture.

    Args:
        strata: name -> template, with "{}" for the concept and names of `words` in braces.
        words: name -> the words that may stand there.
        count: how many.
        purpose: whether they are to be reported, or to choose by; no prompt serves both.
        without: templates that are not to be asked for, such as the folder's captions.
        no_word: a word that none of them may contain, such as the class word where nothing of the concept is asked for.
    """
    banned, used = {" ".join(one.split()) for one in without}, Counter[str]()
    forbidden = re.compile(rf"(?<!\w){re.escape(no_word)}(?!\w)", re.IGNORECASE) if no_word else None
    decks: dict[str, list[_Filled]] = {}
    for name, template in strata.items():
        mine = _part(sorted(_filled(template, words), key=lambda one: one.order), purpose)
        kept = [one for one in mine if one.text not in banned and not (forbidden and forbidden.search(one.text))]
        if kept:
            decks[name] = kept
    dealt: list[Prompt] = []
    taken: dict[str, list[str]] = {name: [] for name in decks}
    for name in islice(cycle(decks), count if decks else 0):
        deck, before = decks[name], taken[name]
        if deck:  # next is the one whose words came least
            best = min(deck[:LOOK], key=lambda one: sum(used[word] for word in one.words))
            deck.remove(best)
            used.update(best.words)
            text = best.text
        else:
            text = min(before, key=before.count)
        dealt.append(Prompt(text, name, before.count(text)))
        before.append(text)
    return dealt


def listed(templates: Sequence[str], count: int) -> list[Prompt]:
    """`count` prompts of a list in its own order; where it is shorter, each gets further pictures."""
    return [Prompt(templates[i % len(templates)], number=i // len(templates)) for i in range(count if templates else 0)]


@dataclass(frozen=True)
class _Filled:
    """A template with its words in place, and where its text puts it in the order."""

    text: str
    words: tuple[str, ...]
    order: bytes


def _filled(template: str, words: Mapping[str, Sequence[str]]) -> Iterator[_Filled]:
    slots = [name for _, name, _, _ in Formatter().parse(template) if name]
    for values in product(*(words[name] for name in slots)):
        text = " ".join(template.format("{}", **dict(zip(slots, values, strict=True))).split())
        yield _Filled(text, values, sha256(text.encode()).digest())


def _part(every: Sequence[_Filled], purpose: Purpose) -> list[_Filled]:
    """What may be reported, or what may be chosen by; of fewer than `CHOOSING` prompts, all of them for both."""
    parts: dict[Purpose, list[_Filled]] = {"report": [], "choose": []}
    for i, one in enumerate(every):
        parts["choose" if i % CHOOSING == CHOOSING - 1 else "report"].append(one)
    return parts[purpose] or list(every)
