"""The prompts that a study draws from: strata in equal parts, no captions, a seed of its own for every picture."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from tests.drawn import DEMO
from triptych.base.description import Description
from triptych.metrics.world import World
from triptych.study.prompts import Prompt, deal, listed

STRATA = {"plain": "a {} on a {ground}", "small": "a small {} on a {ground}"}
WORDS = {"ground": [f"ground{i}" for i in range(20)]}


def test_strata_come_in_equal_parts_and_words_evenly() -> None:
    dealt = deal(STRATA, WORDS, 24)
    assert [one.stratum for one in dealt] == ["plain", "small"] * 12
    assert len({one.template for one in dealt}) == 24
    grounds = Counter(one.template.split()[-1] for one in dealt)
    assert max(grounds.values()) - min(grounds.values()) <= 1
    assert dealt == deal(STRATA, WORDS, 24)
    assert deal(STRATA, WORDS, 10) == dealt[:10]  # asking for more keeps what was asked


def test_what_chooses_is_not_reported() -> None:
    reported, choosing = (
        {one.template for one in deal(STRATA, WORDS, 200, purpose=purpose)} for purpose in ("report", "choose")
    )
    assert not reported & choosing
    assert len(reported | choosing) == 40 and len(choosing) >= 4


def test_captions_and_banned_words_are_left_out() -> None:
    every = {one.template for one in deal(STRATA, WORDS, 100)}
    caption = deal(STRATA, WORDS, 1)[0].template
    assert caption in every
    assert caption not in {one.template for one in deal(STRATA, WORDS, 100, without=[f" {caption} "])}
    assert not any("small" in one.template for one in deal(STRATA, WORDS, 20, no_word="Small"))
    assert deal(STRATA, WORDS, 2, no_word="smal")  # whole words only


def test_every_picture_has_a_seed_of_its_own() -> None:
    dealt = deal({"plain": "a {}", "red": "a red {}"}, {}, 6)
    assert [(one.template, one.number) for one in dealt] == [
        ("a {}", 0), ("a red {}", 0), ("a {}", 1), ("a red {}", 1), ("a {}", 2), ("a red {}", 2)
    ]  # fmt: skip
    assert len({one.seed(0) for one in dealt}) == 6
    assert dealt[0].seed(0) == Prompt("a {}").seed(0) != dealt[0].seed(1)
    assert dealt[0].next(dealt) == Prompt("a {}", "plain", 3)


def test_a_list_of_ones_own_goes_round() -> None:
    assert listed(["a {}", "b {}"], 3) == [Prompt("a {}"), Prompt("b {}"), Prompt("a {}", number=1)]
    assert listed([], 3) == []


@pytest.mark.parametrize("family", ["sd1", "sd2", "sdxl", "demo"])
@pytest.mark.parametrize("kind", ["subject", "style", "scene", "unrelated"])
def test_every_base_declares_a_population(family: str, kind: str) -> None:
    folder: Path | None = DEMO if family == "demo" else None
    population = Description.of(folder, family).population
    world = World.open(DEMO) if family == "demo" else None
    words = {**(world.words if world else {}), **population.words}
    few = (
        40 if (family, kind) == ("demo", "subject") else 96
    )  # of one thing there are sixty pictures in the demo's world
    dealt = deal(population.templates[kind], words, few)
    assert len({one.template for one in dealt}) == few
    assert all(("{}" in one.template) == (kind != "unrelated") for one in dealt)
    if family != "demo":
        both = [deal(population.templates[kind], words, 200, purpose=purpose) for purpose in ("report", "choose")]
        assert len({one.template for part in both for one in part}) >= 128


@pytest.mark.parametrize("word", ["cat", "noto", "blue"])
def test_unrelated_prompts_are_without_the_class_word(word: str) -> None:
    world = World.open(DEMO)
    assert world is not None
    population = Description.of(DEMO, "demo").population
    dealt = deal(population.templates["unrelated"], {**world.words, **population.words}, 64, no_word=word)
    assert len(dealt) == 64 and not any(word in one.template.split() for one in dealt)
