"""How often the verdict is wrong, where the truth is known: simulated studies, and a real one with shuffled labels."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from benchmarks.calibration import (
    APART,
    EQUAL,
    UNEQUAL,
    concepts,
    curve,
    false_claims,
    power,
    sequential,
)
from benchmarks.real_studies import found_spreads, shuffled, shuffled_claims
from benchmarks.studies import Shape, Spreads
from tests.simulated import CEILING, COSTS, DB, FLOOR, LORA, TI, decisions, simulate
from triptych.scores import read_scores
from triptych.verdict import judge
from triptych.verdict.intervals import Floats
from triptych.verdict.table import Table

SCORES = Path(__file__).parent / "data" / "scores.jsonl"  # of the outline on the demo base, one training a method
QUICK, STANDARD = Shape("quick", 1, 32), Shape("standard", 3, 32)
STUDIES = 100
NOISE = 2 * (0.05 * 0.95 / STUDIES) ** 0.5  # two standard errors of a rate of 5 %

pytestmark = pytest.mark.slow  # simulated studies; the rates of docs/verdict.md are of 400 each


@pytest.mark.parametrize(
    ("shape", "spreads"),
    [
        (QUICK, Spreads()),
        (STANDARD, Spreads(between=(0.08,), run=0.05)),
        (STANDARD, Spreads(between=UNEQUAL)),
        (Shape("shared seeds", 1, 16, 2, crossed=True), Spreads(seed=0.05, method_in_seed=0.1)),
        (Shape("shared seeds", 3, 16, 4, crossed=True), Spreads(between=(0.03,), seed=0.05, method_in_seed=0.1)),
    ],
    ids=["quick", "standard", "unequal", "two shared seeds", "four shared seeds"],
)
@pytest.mark.parametrize("truths", [EQUAL, APART], ids=["equal", "apart"])
def test_false_claims_stay_under_the_level(shape: Shape, spreads: Spreads, truths: tuple[float, ...]) -> None:
    """Four methods, equal or a margin apart: in at most one of twenty studies is any decision or answer false."""
    assert max(false_claims(shape, truths, spreads, STUDIES, seed=1)) <= 0.05 + NOISE


def test_taken_for_own_shared_seeds_would_claim_falsely(monkeypatch: pytest.MonkeyPatch) -> None:
    shape, spreads = Shape("shared seeds", 1, 16, 2, crossed=True), Spreads(seed=0.05, method_in_seed=0.1)
    monkeypatch.setattr(Table, "seeds", None)
    assert false_claims(shape, EQUAL, spreads, STUDIES, seed=1)[0] > 0.15


def test_what_is_large_is_seen_and_what_is_equal_too() -> None:
    """With the spreads of studies on the demo base."""
    pooled = Spreads(between=(0.03,))
    assert power(STANDARD, 0.4, pooled, 50)["worse"] > 0.9
    assert power(STANDARD, 0.4, pooled, 50)["better"] == 0
    alike = Spreads(method_in_prompt=0.05, picture=0.1, between=(0.01,))
    assert power(Shape("large", 5, 128), 0.0, alike, 50)["no difference"] > 0.9


def test_what_probabilities_say_comes_true() -> None:
    told = curve(concepts(QUICK, Spreads(), 200, seed=3).said, 5)
    assert all(abs(one["predicted"] - one["true"]) < 0.05 + 2 / one["count"] ** 0.5 for one in told)


def test_going_on_until_it_is_decided_claims_no_more_and_draws_less() -> None:
    told = sequential(Shape("growing", 1, 128), Spreads(), 60, seed=2)
    assert max(told["equal"], told["margin"]) <= 0.05 + 2 * (0.05 * 0.95 / 60) ** 0.5
    assert told["prompts"] < 100 and told["grades"]["cannot tell"] < 0.2


def test_the_spreads_of_studies_are_found_again() -> None:
    """What `simulate` of the tests puts in: a prompt's hardness 0.05, a picture's noise 0.03, both in cosine."""
    levels = {TI: 0.2, LORA: 0.4, DB: 0.6}
    studies = [simulate(levels, runs=1, between_runs=0.02, seeds=1, prompts=32, seed=i) for i in range(40)]
    found = found_spreads(studies)
    gap = CEILING - FLOOR
    assert found.shared == pytest.approx(0.05 / gap, rel=0.15)
    assert found.own == pytest.approx(0.03 / gap, rel=0.1)
    assert found.between == pytest.approx(0.02 / gap, rel=0.25) and found.freedom == 78


def test_shuffled_labels_find_nothing() -> None:
    """A real study's scores under shuffled names: any pair called better or worse in at most one of twenty."""
    rates = shuffled_claims(read_scores(SCORES), 60)
    assert rates.keys() == {"both", "fidelity", "prompt_fidelity", "base_preservation"}
    assert max(rates.values()) <= 0.05 + 2 * (0.05 * 0.95 / 60) ** 0.5


def test_unshuffled_they_find_something() -> None:
    told = judge(read_scores(SCORES), []).differences
    assert sum(one.decision in ("better", "worse") for one in told) >= 3
    scores = read_scores(SCORES)
    assert sorted(s.value for s in shuffled(scores, np.random.default_rng(0))) == sorted(s.value for s in scores)


@pytest.mark.parametrize(("runs", "between_runs"), [(1, 0.0), (3, 0.05)])
def test_the_interval_covers_the_truth(runs: int, between_runs: float) -> None:
    """Of 400 simulated studies at least 91 % of the 95 % intervals hold the truth (two standard errors: 2.2 %)."""
    random = np.random.default_rng(1)
    seeds = np.arange(32).reshape(8, 4)

    def method() -> Floats:
        of_run = random.normal(0, between_runs, (runs, 1, 1)) if between_runs else 0.0
        return np.asarray(of_run + random.normal(0, 0.1, (1, 8, 1)) + random.normal(0, 0.1, (runs, 8, 4)))

    held = 0
    for _ in range(400):
        table = Table({name: method() for name in (TI, LORA, DB, "more")}, [str(i) for i in range(8)], seeds)
        interval = table.difference(LORA, DB).interval()
        held += interval.low <= 0 <= interval.high
    assert held / 400 > 0.91


def test_false_answers_stay_under_the_level() -> None:
    """Textual inversion lies exactly on the margin: 'yes' and 'no' are both wrong, and each may come in 5 %."""
    found = Counter[str]()
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
