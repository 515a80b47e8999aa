"""Several comparisons at once: p-values that fit the intervals, and Holm's and Shaffer's step-down."""

import numpy as np
import pytest
from scipy import stats

from triptych.verdict.intervals import Estimate, Resamples
from triptych.verdict.multiple import holm, shaffer


def estimate(seed: int = 0, value: float = 0.0) -> Estimate:
    cells = np.random.default_rng(seed).normal(value, 0.1, (3, 8, 2))
    return Resamples((2,) * 8, 3, seed=0).estimate(cells)


@pytest.mark.parametrize("level", [0.5, 0.8, 0.95, 0.99, 0.998])
def test_a_p_value_is_where_the_interval_ends(level: float) -> None:
    found = estimate()
    interval = found.interval(level)
    assert found.p_above(interval.low) == pytest.approx(1 - level, abs=1e-4)
    assert found.p_below(interval.high) == pytest.approx(1 - level, abs=1e-4)
    assert found.p_above(interval.low - 0.01) < 1 - level < found.p_above(interval.low + 0.01)


def test_p_values_are_nearly_those_of_the_t_test() -> None:
    """One run, one picture a prompt: the bootstrap has nothing to add to Student's test."""
    for seed in range(5):
        cells = np.random.default_rng(seed).normal(0.03, 0.1, (1, 30, 1))
        found = Resamples((1,) * 30, 1, seed=seed).estimate(cells)
        wanted = stats.ttest_1samp(cells.ravel(), 0).pvalue
        assert min(found.p_above(0), found.p_below(0)) == pytest.approx(wanted, rel=0.2, abs=0.01)


def test_nothing_known_and_nothing_varied() -> None:
    one = Resamples((1,), 1, seed=0).estimate(np.ones((1, 1, 1)))
    assert (one.p_above(0), one.p_below(2)) == (1, 1)
    same = Resamples((2, 2), 1, seed=0).estimate(np.zeros((1, 2, 2)))
    assert same.p_above(0) == same.p_below(0) == 1
    assert same.p_above(-0.1) == same.p_below(0.1) < 0.001


def test_holm_steps_down() -> None:
    assert holm({"a": 0.01, "b": 0.04, "c": 0.03, "d": 0.005}) == pytest.approx(
        {"d": 0.02, "a": 0.03, "c": 0.06, "b": 0.06}
    )
    assert holm({"a": 0.6, "b": 0.9}) == {"a": 1, "b": 1}
    assert holm({}) == {}


def test_of_hypotheses_that_exclude_each_other_one_counts() -> None:
    assert shaffer([(0.01, 0.9), (0.02, 0.03)]) == [(0.02, 0.9), (0.04, 0.06)]
    assert shaffer([(0.01,), (0.02,)]) == [(0.01 * 2,), (0.02,)]


def test_the_chance_of_one_false_claim_stays_below_the_level() -> None:
    """Of three equal means and one far off, 2000 times: false claims about the equal ones in at most 5 %."""
    random = np.random.default_rng(0)
    false = 0
    for _ in range(2000):
        z = random.normal(0, 1, 4) + np.array([0, 0, 0, 6])
        adjusted = holm(dict(enumerate(2 * stats.norm.sf(abs(z)))))
        false += min(adjusted[i] for i in range(3)) <= 0.05
    assert 0.025 < false / 2000 < 0.06
