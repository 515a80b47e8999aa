"""How often the verdict is wrong, where the truth is known: simulated studies, and a real one with shuffled labels."""

from pathlib import Path

import numpy as np
import pytest

from benchmarks.calibration import PUBLISHED, SMALL, Shape, false_claims, power, shuffled, shuffled_claims, spreads
from tests.simulated import CEILING, COSTS, DB, FLOOR, LORA, TI, decisions, simulate
from triptych.scores import read_scores
from triptych.verdict import judge
from triptych.verdict.intervals import Resamples

SCORES = Path(__file__).parent / "data" / "scores.jsonl"  # of the blob cat on the demo base, one training a method
STANDARD = Shape("standard", 3, 16, 2)
MARGIN = 0.1
STUDIES = 200
NOISE = 2 * (0.05 * 0.95 / STUDIES) ** 0.5  # two standard errors of a rate of 5 %

pytestmark = pytest.mark.slow  # simulated studies


@pytest.mark.parametrize(
    "shape", [Shape("quick", 1, 16, 2), STANDARD, Shape("thorough", 5, 10, 4)], ids=lambda s: s.name
)
@pytest.mark.parametrize("between", [0.0, PUBLISHED])
@pytest.mark.parametrize("apart", [0.0, MARGIN])
def test_false_claims_stay_under_the_level(shape: Shape, between: float, apart: float) -> None:
    """Four methods, equal or a margin apart: in at most one of twenty studies is any of six decisions false."""
    truths = (0.5, 0.5 + apart, 0.5, 0.5 + apart)
    assert false_claims(shape, truths, between, STUDIES, seed=1) <= 0.05 + NOISE


def test_what_is_large_is_seen_and_what_is_equal_too() -> None:
    """With the spreads of studies on the demo base."""
    assert power(STANDARD, 0.4, SMALL, 100)["better"] > 0.9
    assert power(Shape("large", 5, 160, 2), 0.0, 0.01, 100)["no difference"] > 0.9
    assert power(STANDARD, 0.4, SMALL, 100)["worse"] == 0


def test_less_is_enough_where_methods_behave_alike_from_prompt_to_prompt(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("benchmarks.calibration.METHOD_IN_PROMPT", 0.1)
    assert power(STANDARD, 0.3, SMALL, 100)["better"] > 0.9
    assert power(Shape("large", 5, 64, 2), 0.0, 0.01, 100)["no difference"] > 0.9
    assert power(STANDARD, 0.3, SMALL, 100)["worse"] == 0


def test_the_spreads_of_studies_are_found_again() -> None:
    """What `simulate` of the tests puts in: a prompt's hardness 0.05, a picture's noise 0.03, both in cosine."""
    studies = [simulate({TI: 0.3, LORA: 0.6, DB: 0.8}, runs=1, between_runs=0.02, seed=i) for i in range(40)]
    found = spreads(studies)
    gap = CEILING - FLOOR
    assert found.shared == pytest.approx(0.05 / gap, rel=0.1)
    assert found.picture == pytest.approx(0.03 / gap, rel=0.1)
    assert found.between == pytest.approx(0.02 / gap, rel=0.25)
    assert found.method_in_prompt < 0.02


def test_shuffled_labels_find_nothing() -> None:
    """A real study's scores under shuffled names: any pair called better or worse in at most one of twenty."""
    rates = shuffled_claims(read_scores(SCORES), 60)
    assert rates.keys() == {"both", "fidelity"}
    assert rates["fidelity"] <= 0.05 + 2 * (0.05 * 0.95 / 60) ** 0.5


def test_unshuffled_they_find_something() -> None:
    told = judge(read_scores(SCORES), []).differences
    assert sum(one.decision in ("better", "worse") for one in told) >= 3
    scores = read_scores(SCORES)
    assert sorted(s.value for s in shuffled(scores, np.random.default_rng(0))) == sorted(s.value for s in scores)


@pytest.mark.parametrize(("runs", "between_runs"), [(1, 0.0), (3, 0.05)])
def test_the_interval_covers_the_truth(runs: int, between_runs: float) -> None:
    """Of 400 simulated studies at least 91 % of the 95 % intervals hold the truth (two standard errors: 2.2 %)."""
    random = np.random.default_rng(1)
    resamples = Resamples((4,) * 8, runs, seed=0, resamples=1000)
    held = 0
    for _ in range(400):
        of_run = random.normal(0, between_runs, (runs, 1, 1)) if between_runs else 0.0
        cells = of_run + random.normal(0, 0.1, (1, 8, 1)) + random.normal(0, 0.1, (runs, 8, 4))
        interval = resamples.estimate(cells).interval()
        held += interval.low <= 0 <= interval.high
    assert held / 400 > 0.91


def test_false_answers_stay_under_the_level() -> None:
    """Textual inversion lies exactly on the margin: 'yes' and 'no' are both wrong, and each may come in 5 %."""
    found = {"yes": 0, "no": 0, "undecided": 0}
    for seed in range(60):
        scores = simulate({TI: 0.7, LORA: 0.8, DB: 0.8}, seed=seed, noise=0.04, between_runs=0.01, prompts=6, seeds=2)
        found[decisions(judge(scores, COSTS))["textual"]] += 1
    assert found["no"] <= 6 and found["yes"] <= 6, found  # 5 % of 60 is 3; 6 leaves two standard errors


def test_no_false_difference_between_equals() -> None:
    surely = 0
    for seed in range(60):
        verdict = judge(simulate({LORA: 0.8, DB: 0.8}, seed=seed, noise=0.04, between_runs=0.02), COSTS)
        interval = verdict.differences[0].interval
        surely += not interval.low <= 0 <= interval.high
    assert surely <= 6, surely
