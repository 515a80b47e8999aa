"""The page of the study of dilution is made of records, and says how well retention is foretold."""

from __future__ import annotations

import json
import random
from pathlib import Path
from statistics import fmean

import pytest

from recipes.dilution import foretelling, page, records
from recipes.dilution.reading import Study, along, combined, per_model
from triptych.dilution.foretold import Curve
from triptych.dilution.measure import File, Kept
from triptych.dilution.plan import DilutionPlan, Source
from triptych.dilution.response import Response
from triptych.dilution.result import Preserved, Result
from triptych.mixing.overlap import Overlap
from triptych.verdict.intervals import Estimate, Interval, Part

PICTURES = 400
NOISE = 0.4  # of a picture, for a gain of 0.8
TRUTH = Curve(0.6, 4.0)


def study(folder: Path, seed: int) -> Study:
    """A study whose losses follow from the responses, but for the noise of its pictures, written and read again."""
    sources = tuple(Source(Path(f"{name}.safetensors"), Path()) for name in "abc")
    plan = DilutionPlan(sources, counts=(2, 3), ratios=(0.2, 0.7), generations=2, prompts=PICTURES)
    chance = random.Random(seed)
    pictures = [{"base": around(0.0, chance, 0.0), "alone": around(0.8, chance, 0.0)} for _ in sources]
    kept = []
    for arm in plan.arms:
        for place, weight in arm.weights:
            response = Response(chance.random(), chance.random())
            row = Kept(arm.name, sources[place].name, weight, Interval(0, 0, 0, PICTURES), 0.4, response)
            pictures[place][arm.name] = around(0.8 * TRUTH(response.distance), chance, NOISE)
            value = fmean(pictures[place][arm.name]) / 0.8
            kept.append(
                Kept(*list(vars(row).values())[:3], Interval(value, value - 0.1, value + 0.1, 9), 0.4, response)
            )
    files = [
        File(source.name, 0.8, Interval(0.8, 0.7, 0.9, 9), True, {row: tuple(own) for row, own in mine.items()})
        for source, mine in zip(sources, pictures, strict=True)
    ]
    overlaps = {(a, b): Overlap(0.1, 0.2, 0.3, 1, 1) for a in "abc" for b in "abc" if a != b}
    stayed = [Preserved(row, Interval(0.7, 0.6, 0.8, 9)) for row in ("alone", *(arm.name for arm in plan.arms))]
    result = Result.of(plan, plan.arms, files, kept, stayed, [], overlaps, complete=True)
    told = {
        "part": "lora",
        "seed": seed,
        "trained": {"lr": 0.002, "steps": 300},
        "precision": "torch.float32",
        **json.loads(result.to_json()),
    }
    records.write(folder, "lora", seed, told)
    return next(found for alike in Study.read(folder, "lora") for found in alike if found.seed == seed)


def around(mean: float, chance: random.Random, spread: float) -> list[float]:
    return [mean + chance.gauss(0, spread) for _ in range(PICTURES)]


def test_the_noise_of_what_was_measured_bounds_what_can_be_foretold(tmp_path: Path) -> None:
    seen, other = study(tmp_path, 0), study(tmp_path, 1)
    errors = foretelling.errors(seen)
    assert list(errors.values()) == pytest.approx([NOISE / 0.8 / PICTURES**0.5] * len(seen.rows), rel=0.15)
    assert foretelling.knowing_the_truth([0.1]) == pytest.approx(0.683, abs=0.001)
    assert foretelling.knowing_the_truth([0.2], pictures=4) == pytest.approx(0.683, abs=0.001)
    assert foretelling.by_halves(seen) > 0.99
    nothing, learn = foretelling.LEARNERS.values()
    for found in (foretelling.of_other_mixes(seen, learn), foretelling.of_other_files(seen, learn),
                  foretelling.of_another(seen, other, learn)):  # fmt: skip
        assert found.close > 0.9 and found.own < 0.05 and found.off < 0.05
        assert len(found.told) == len(seen.rows)
    assert foretelling.of_other_mixes(seen, nothing).close < 0.6


def test_a_page_is_made_of_the_records_of_all_seeds(tmp_path: Path) -> None:
    for seed in (0, 3):
        study(tmp_path / "records", seed)
    page.write(tmp_path / "records", tmp_path / "dilution.md")
    text = (tmp_path / "dilution.md").read_text()
    assert (
        "2 trainings of each LoRA, 300 steps at 0.002, with 400 pictures of each concept for each mix, in float32"
        in text
    )
    assert "| LoRA, 300 steps at 0.002 | the distance in one step | the training with seed 0 |" in text
    assert "| LoRA, 300 steps at 0.002 | a | 1" in text  # foretold, by concept
    assert text.index("that it dilutes is") < text.index("Measured and written by")
    assert (tmp_path / "dilution" / "lora-300-ratio.svg").is_file()
    assert "nan" not in text and text.count("300 steps at 0.002: how many") == 1


def test_what_each_file_more_costs_adds_up_to_what_all_cost(tmp_path: Path) -> None:
    studies = [study(tmp_path, seed) for seed in (0, 1)]
    steps, points = per_model(studies, "average"), along(studies, "count", "average")
    assert [step[:2] for step in steps] == [(1.0, 2.0), (2.0, 3.0)]
    assert sum(more.value for _, _, more in steps) == pytest.approx(points[1][1].value)
    assert steps[0][2] == points[0][1]
    kept = studies[0].kept("average-2", "a")
    assert kept and kept.value == pytest.approx(fmean(studies[0].pictures("a")["average-2"]) / 0.8, abs=1e-3)


def test_trainings_that_lie_apart_widen_the_interval_of_their_mean() -> None:
    def estimate(value: float) -> Estimate:
        return Estimate(value, 8, (Part("prompts", 0.01**2, 7),))

    alike, apart = (combined([[estimate(0.5 - by), estimate(0.5 + by)], [estimate(0.7)]]) for by in (0.0, 0.1))
    assert alike.value == apart.value == pytest.approx(0.6)
    assert alike.high - alike.value < 0.02
    assert apart.high - apart.value == pytest.approx(12.706 * 0.1 * 2**0.5 * (1.5 / 4) ** 0.5, rel=1e-3)
