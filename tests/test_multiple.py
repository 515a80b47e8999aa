"""Several comparisons at once: p-values that fit the intervals, and Holm's and Shaffer's step-down."""

import numpy as np
import pytest
from scipy import stats

from triptych.verdict.intervals import ALPHA, Estimate, Floats
from triptych.verdict.multiple import holm, shaffer
from triptych.verdict.variance import Priors, Weights, parts


def of(cells: Floats, alpha: float = ALPHA) -> Estimate:
    return Estimate(float(cells.mean()), cells.size, parts(cells, None, Weights(2, 0), Priors()), alpha)


def estimate(seed: int = 0, value: float = 0.0, alpha: float = ALPHA) -> Estimate:
    return of(np.random.default_rng(seed).normal(value, 0.1, (3, 8, 2)), alpha)


@pytest.mark.parametrize("alpha", [0.5, 0.2, 0.05, 0.01, 0.002])
def test_a_p_value_is_where_the_interval_ends(alpha: float) -> None:
    """At every look, p is at most the level exactly where the look's own interval is clear of the boundary."""
    found = estimate(alpha=alpha)
    interval = found.interval()
    assert found.p_above(interval.low) == pytest.approx(ALPHA, rel=1e-3)
    assert found.p_below(interval.high) == pytest.approx(ALPHA, rel=1e-3)
    assert found.p_above(interval.low - 0.01) < ALPHA < found.p_above(interval.low + 0.01)


def test_p_values_are_those_of_the_t_test() -> None:
    """One training, one picture a prompt: Student's test."""
    for seed in range(5):
        cells = np.random.default_rng(seed).normal(0.03, 0.1, (1, 30, 1))
        wanted = stats.ttest_1samp(cells.ravel(), 0).pvalue
        assert min(of(cells).p_above(0), of(cells).p_below(0)) == pytest.approx(wanted)


def test_nothing_known_and_nothing_varied() -> None:
    one = of(np.ones((1, 1, 1)))
    assert (one.p_above(0), one.p_below(2)) == (1, 1)
    same = of(np.zeros((1, 2, 2)))
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
