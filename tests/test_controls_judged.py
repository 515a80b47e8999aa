"""The judge of the embedded base sees what controls change: few pictures here, docs/controls/rates.json has many."""

from __future__ import annotations

import json

import pytest

from benchmarks.controls import PAGE, RATES, page
from benchmarks.controls_bench import Bench, Rate
from benchmarks.controls_judged import blends, courses, denoises, edits, kept_to_regions, regions
from triptych.base import open_base


@pytest.fixture(scope="module")
def bench() -> Bench:
    return Bench(open_base("demo"), seed=11, count=8)


def seen(rates: list[Rate]) -> dict[tuple[str, str], float]:
    return {(rate.control, rate.what): rate.value for rate in rates}


def test_the_page_has_the_rates() -> None:
    text = PAGE.read_text(encoding="utf-8")
    assert page(text, json.loads(RATES.read_text())) == text, "run python -m benchmarks.controls --page"


@pytest.mark.parametrize(
    ("least", "most", "met"), [(0.8, None, False), (0.5, None, True), (None, 0.6, False), (None, None, True)]
)
def test_a_wish(least: float | None, most: float | None, met: bool) -> None:
    assert Rate("x", "y", 0.7, 10, least, most).met is met


@pytest.mark.slow
def test_an_edit_replaces_the_thing_and_nothing_else(bench: Bench) -> None:
    found = seen(list(edits(bench)))
    assert found["--edit", "the subject becomes the other one"] >= 0.75
    assert found["--edit", "the background stays"] >= 0.85
    before, asked = bench.shown["edit: before"], bench.asked(8, "lion", "owl")[::2]
    assert bench.right(before[:4], [one.other for one in asked]) <= 0.25, "the judge tells one thing from another"


@pytest.mark.slow
def test_an_edit_of_words_leaves_the_rest(bench: Bench) -> None:
    found = seen(list(blends(bench)))
    assert found["--edit-only THINGS", "the background stays"] >= 0.75
    assert found["--edit without it", "the background stays"] <= 0.25


@pytest.mark.slow
def test_regions_have_their_things(bench: Bench) -> None:
    found = seen(list(regions(bench)))
    assert found["--region, 128 x 64", "halves that show their thing"] >= 0.75


@pytest.mark.slow
def test_more_denoising_is_farther_away(bench: Bench) -> None:
    found = seen(list(denoises(bench)))
    near, middle, far = (found["--denoise", f"mean change at {amount}, of 255"] for amount in (0.3, 0.6, 0.9))
    assert near < middle < far


@pytest.mark.slow
def test_a_lora_comes_and_goes_in_time_and_place(bench: Bench) -> None:
    found = seen(list(kept_to_regions(bench)))
    assert found["a LoRA of the left region", "mean change inside, of 255"] > 5
    assert found["a LoRA of the left region", "mean change outside, of that inside"] < 0.2
    found = seen(list(courses(bench)))
    whole = found["--use LORA:1@0-0.5", "distance from off to on"]
    assert 0 < found["--use LORA:1@0-0.5", "distance from off to half"] < whole
    assert found["--use LORA:1@0-0.5", "distance from half to on"] > 0
