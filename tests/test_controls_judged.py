"""The judge of the embedded base sees what controls change: few pictures here, docs/controls/rates.json has many."""

from __future__ import annotations

import json

import pytest

from benchmarks.controls import PAGE, RATES, page
from benchmarks.controls_bench import Bench, Rate
from benchmarks.controls_judged import blends, courses, edits, kept_to_regions, regions, reweights
from benchmarks.controls_pictures import denoises, inpaints, outpaints, samplers, second_passes, variations
from triptych.base import open_base
from triptych.sampling.samplers import SAMPLERS


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


@pytest.mark.thorough
def test_an_edit_replaces_the_thing_and_nothing_else(bench: Bench) -> None:
    found = seen(list(edits(bench)))
    assert found["--edit", "the subject becomes the other one"] >= 0.75
    assert found["--edit", "the background stays"] >= 0.85
    asked = bench.asked(8, "lion", "owl")[::2]
    assert bench.right(bench.plain(asked), [own.other for own in asked]) <= 0.25, "the judge tells one from another"


@pytest.mark.thorough
def test_an_edit_of_words_leaves_the_rest(bench: Bench) -> None:
    found = seen(list(blends(bench)))
    assert found["--edit-only THINGS", "the background stays"] >= 0.75
    assert found["--edit without it", "the background stays"] <= 0.25


@pytest.mark.thorough
def test_a_weight_takes_a_thing_away_where_the_base_reads_it(bench: Bench) -> None:
    """This base reads the thing in the words after it."""
    found, what = seen(list(reweights(bench))), "likeness to the thing at 0.1"
    full = found["(THING:weight)", "likeness to the thing at 1"]
    assert found["--edit-weights, on THING and all words after it", what] < full - 0.1
    assert found["(THING)weight, --emphasis compel", what] < full - 0.1
    assert abs(found["--edit-weights THING", what] - full) < 0.1


@pytest.mark.thorough
def test_regions_have_their_things(bench: Bench) -> None:
    found, what = seen(list(regions(bench))), "halves that show their thing"
    assert found["--region, 128 x 64", what] >= 0.75
    alone, seeing = (found[f"--region, 64 x 64, with places in the prompts{way}", what]
                     for way in ("", ", --region-alone 0"))  # fmt: skip
    assert alone >= 0.75
    assert alone >= seeing


@pytest.mark.thorough
def test_more_denoising_is_farther_away(bench: Bench) -> None:
    found = seen(list(denoises(bench)))
    near, middle, far = (found["--denoise", f"mean change at {amount}, of 255"] for amount in (0.3, 0.6, 0.9))
    assert near < middle < far


@pytest.mark.thorough
def test_a_mask_keeps_what_is_outside(bench: Bench) -> None:
    found = seen(list(inpaints(bench)))
    assert found["--mask, --denoise 1", "the subject becomes the other one"] >= 0.5
    assert found["--mask, --denoise 1", "mean change outside, of 255"] < 0.5


@pytest.mark.thorough
def test_an_extended_picture_stays(bench: Bench) -> None:
    found = seen(list(outpaints(bench)))
    assert found["--extend, --denoise 1", "mean change of the picture, of 255"] < 0.5


@pytest.mark.thorough
def test_a_stronger_variation_is_farther_away(bench: Bench) -> None:
    found = seen(list(variations(bench)))
    near, middle, far = (
        found["--variation-strength", f"mean change at {strength:g}, of 255"] for strength in (0.2, 0.5, 1.0)
    )
    assert 0 < near < middle < far


@pytest.mark.thorough
def test_a_second_pass_keeps_the_picture(bench: Bench) -> None:
    found, what = seen(list(second_passes(bench))), "overlap with the drawing of the first pass"
    shrunk, plain = (found[f"--hires 2, --hires-by latent{how}", what] for how in ("", ", --hires-shrink 0"))
    assert shrunk > plain


@pytest.mark.thorough
def test_samplers_sample_what_is_asked_for(bench: Bench) -> None:
    every, _ = samplers(bench, list(SAMPLERS)[::4])
    assert every.value >= 0.75


@pytest.mark.thorough
def test_a_lora_comes_and_goes_in_time_and_place(bench: Bench) -> None:
    found = seen(list(kept_to_regions(bench)))
    assert found["a LoRA of the left region", "mean change inside, of 255"] > 5
    assert found["a LoRA of the left region", "mean change outside, of that inside"] < 0.2
    found = seen(list(courses(bench)))
    half, most = (found[f"--use LORA:1@0-{end}", "change from off, of 255"] for end in (0.5, 0.75))
    assert 0 < half < most < found["--use LORA:1@0-SHARE", "change from off to on, of 255"]
    half, most = (found[f"--use LORA:1@0-{end}", "change from on, of 255"] for end in (0.5, 0.75))
    assert half > most > 0
