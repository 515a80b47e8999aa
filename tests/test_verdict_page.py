"""docs/verdict.md says what its JSON files say, and they say that the verdict keeps its word."""

import json

from benchmarks.calibration_page import FOLDER, PAGE, page, pooled

TOLD = json.loads((FOLDER / "simulated.json").read_text())
NOISE = 2 * (0.05 * 0.95 / TOLD["studies"]) ** 0.5  # two standard errors of a rate of 5 %


def test_the_page_is_generated() -> None:
    assert PAGE.read_text(encoding="utf-8") == page(FOLDER), "run python -m benchmarks.calibration --page"


def test_false_claims_are_at_most_5_percent_with_own_seeds_shared_ones_and_several_looks() -> None:
    rates = [rate for row in TOLD["false"] for truth in ("equal", "margin") for rate in row[truth]]
    rates += [row[truth] for row in TOLD["sequential"] for truth in ("equal", "margin")]
    rates += [row["false"] for row in TOLD["concepts"]]
    assert TOLD["studies"] >= 400 and len(rates) > 80
    assert max(rates) <= 0.05 + NOISE


def test_probabilities_come_true_within_5_points() -> None:
    assert sum(one["count"] for one in TOLD["answers"]) >= 3 * 2 * 400
    assert max(abs(one["predicted"] - one["true"]) for one in TOLD["answers"]) <= 0.05


def test_at_the_last_look_what_is_called_probable_is() -> None:
    told = pooled([row["said"] for row in TOLD["sequential"]])
    assert all(one["true"] >= one["predicted"] - 0.05 for one in told if one["predicted"] >= 0.8)
    assert all(one["true"] <= one["predicted"] + 0.05 for one in told if one["predicted"] <= 0.2)


def test_regret_is_not_understated() -> None:
    assert all(one["true"] <= one["predicted"] + 0.05 for one in TOLD["regret"] if one["count"] >= 100)
