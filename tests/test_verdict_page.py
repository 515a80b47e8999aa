"""docs/verdict.md says what its JSON files say, and they say that the verdict keeps its word."""

import json

from benchmarks.calibration_page import FOLDER, PAGE, page, pooled

TOLD = json.loads((FOLDER / "simulated.json").read_text())
FEW = json.loads((FOLDER / "few.json").read_text())
GROWING = json.loads((FOLDER / "growing.json").read_text())
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


def test_at_the_last_look_probabilities_come_true_too() -> None:
    told = pooled([row["said"] for row in GROWING["rows"]])
    assert sum(row["studies"] for row in GROWING["rows"]) >= 4 * 400
    assert max(abs(one["predicted"] - one["true"]) for one in told) <= 0.05


def test_with_the_stated_prior_few_trainings_claim_no_more_than_they_may() -> None:
    """Where spreads are as it states, or less, and a little beyond; and it decides more than without it."""
    near = [row for row in FEW["rows"] if row["drawn"] or max(row["between"]) <= 0.08]
    rates = [rate for row in near for truth in ("equal", "margin") for rate in row[truth]]
    rates += [row["wrong"] for row in near] + [row[truth] for row in FEW["sequential"] for truth in ("equal", "margin")]
    assert FEW["studies"] >= 400 and max(rates) <= 0.05 + NOISE
    assert max(abs(one["predicted"] - one["true"]) for one in FEW["answers"]) <= 0.05
    open_ = {(row["name"], row["prior"]): row["grades"]["cannot tell"] for row in FEW["rows"] if row["drawn"]}
    assert open_["two quick studies", True] < 0.3 < open_["two quick studies", False]


def test_regret_is_not_understated() -> None:
    assert all(one["true"] <= one["predicted"] + 0.05 for one in TOLD["regret"] if one["count"] >= 100)
