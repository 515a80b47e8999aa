"""Variances of means by part: trainings, prompts, shared seeds; moderated by other methods and a stated prior."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from tests.simulated import DB, HN, LORA, TI, simulate
from triptych.scores import BASE, Score
from triptych.verdict import judge
from triptych.verdict.intervals import ALPHA, Floats
from triptych.verdict.moderated import Prior, estimated
from triptych.verdict.table import Table

METHODS = (TI, HN, LORA, DB, "more")


def means(spread: float | Floats, trainings: int = 3, methods: int = 5, seed: int = 0) -> Floats:
    return np.random.default_rng(seed).normal(0, 1, (methods, trainings)) * spread


def scores(spread: float, runs: int = 3, prompts: int = 40, seed: int = 0) -> list[Score]:
    random, found = np.random.default_rng(seed), []
    for method in (BASE, *METHODS):
        for run in range(1 if method == BASE else runs):
            moved = 0.0 if method == BASE else random.normal(0, spread)
            found += [Score("m", method, moved + random.normal(0, 0.1), run, f"p{i}", i) for i in range(prompts)]
    return found


def test_the_prior_is_found_again_where_methods_are_alike() -> None:
    found = [estimated(means(0.06, seed=i))[0] for i in range(300)]
    assert np.mean([one.scale for one in found]) == pytest.approx(0.06**2, rel=0.15)
    assert np.median([one.freedom for one in found]) == 6  # worth no more than the three other methods' trainings


def test_methods_that_differ_much_tell_little_of_each_other() -> None:
    spreads = np.array([[0.001], [0.01], [0.1], [1.0], [10.0]])
    assert estimated(means(spreads, trainings=6))[0].freedom < 4


def test_what_all_methods_share_in_a_training_is_no_variance_of_a_method() -> None:
    shared = means(0.02, 5) + np.random.default_rng(1).normal(0, 1, (1, 5))
    prior, methods = estimated(shared)
    assert methods == 5 and prior.scale < 0.03**2 and prior.shared > 0.2


@pytest.mark.parametrize("bad", [means(0.1, methods=2), means(0.1, trainings=1), np.zeros((5, 3))])
def test_where_too_few_tell_there_is_no_prior(bad: Floats) -> None:
    assert estimated(bad)[0] == Prior()


def test_pooled_over_five_methods_t_has_eight_degrees_of_freedom() -> None:
    table = Table.of(scores(0.08))
    trainings = [part for part in table.difference(LORA, DB).parts if part.source == "trainings"]
    assert [part.freedom for part in trainings] == [2 + min(6, table.priors.trainings.freedom)]
    assert stats.t.ppf(0.975, 8) == pytest.approx(2.31, abs=0.01)


def test_a_difference_from_the_bare_base_keeps_few_degrees_of_freedom_for_what_all_share() -> None:
    parts = Table.of(scores(0.08)).difference(LORA, BASE).parts
    assert [part.freedom for part in parts if part.source == "trainings"][1:] == [2]


def test_a_stated_prior_counts_beside_the_own_trainings() -> None:
    told = scores(0.08)
    wide, narrow = (Table.of(told, prior=Prior(50, spread**2, stated=True)) for spread in (0.3, 0.07))
    variances = [
        sum(part.variance for part in table.difference(LORA, DB).parts if part.source == "trainings")
        for table in (wide, narrow)
    ]
    assert variances[0] == pytest.approx(2 * 0.3**2 / 3, rel=0.1)
    assert variances[1] == pytest.approx(2 * 0.07**2 / 3, rel=0.2)


@pytest.mark.slow
def test_a_stated_prior_that_the_trainings_contradict_is_left_out() -> None:
    told, known = scores(0.3), Prior.known(8, 0.02, 6, 0.0)
    assert Table.of(told, prior=known).priors == Table.of(told).priors
    left_out = [
        Table.of(scores(0.05, seed=seed), prior=Prior.known(20, 0.05, 0, 0.0)).priors.trainings.stated is False
        for seed in range(100)
    ]
    assert sum(left_out) <= 5 + 2 * (100 * 0.05 * 0.95) ** 0.5


def test_of_two_trainings_the_stated_prior_tells_what_they_cannot() -> None:
    known, widths = Prior.known(5, 0.04, 6, 0.01), []
    for seed in range(10):
        told = scores(0.04, runs=2, seed=seed)
        alone, joined = (Table.of(told, prior=prior).difference(LORA, BASE) for prior in (Prior(), known))
        assert alone and joined
        assert [part.freedom for part in joined.parts if part.source == "trainings"] == [6, 7]
        widths.append([each.half(ALPHA) for each in (alone, joined)])
    assert np.mean(widths, axis=0)[1] < 0.6 * np.mean(widths, axis=0)[0]


def test_more_trainings_than_a_prior_is_worth_are_taken_for_themselves() -> None:
    told, known = scores(0.04), Prior.known(0.5, 0.5, 0, 0.0)
    assert Table.of(told).priors.trainings.freedom > 0.5
    assert Table.of(told, prior=known).priors == Table.of(told).priors


def test_what_all_methods_share_is_known_by_the_prior_and_by_the_study() -> None:
    assert Prior.known(5, 0.04, 6, 0.0).with_shared(0.07, 1).shared == pytest.approx(0.01)
    assert Prior.known(5, 0.04, 0, 0.0).with_shared(0.07, 1).shared == pytest.approx(0.07)


def test_trainings_with_other_pictures_of_the_same_prompts_have_probabilities() -> None:
    """Studies of several seeds, judged as one: every training has its own seeds of pictures."""
    told = own_seeds(scores(0.04, runs=2))
    drawn = Table.of(told, prior=Prior.known(5, 0.04, 6, 0.01)).posterior((*METHODS, BASE), 0)
    assert drawn is not None
    means = Table.of(told)
    for name in METHODS:
        expected = means.mean(name)
        assert expected is not None and np.mean(drawn[name]) == pytest.approx(expected.value, abs=0.01)


def own_seeds(told: list[Score]) -> list[Score]:
    """Every training with pictures of its own, and the bare base with those of all."""
    both = [replace(one, replicate=1) for one in told if one.method == BASE] + told
    return [replace(one, seed=(one.seed or 0) + 1000 * one.replicate) for one in both]


def test_copies_have_no_variance_however_others_vary() -> None:
    told = scores(0.08)
    told += [Score(s.metric, "twin", s.value, s.replicate, s.prompt, s.seed) for s in told if s.method == LORA]
    assert Table.of(told).difference("twin", LORA).interval().high == 0


def test_seeds_that_stand_at_several_prompts_are_a_source_of_chance() -> None:
    told = simulate({TI: 0.5, DB: 0.8}, runs=1, prompts=16, seeds=2, crossed=True)
    own = simulate({TI: 0.5, DB: 0.8}, runs=1, prompts=16, seeds=2)
    shared, alone = (Table.of([s for s in each if s.metric == "subject_fidelity"]) for each in (told, own))
    assert alone.seeds is None and shared.seeds is not None
    assert {part.source for part in shared.difference(TI, DB).parts} == {"seeds", "prompts"}
    assert {part.source for part in alone.difference(TI, DB).parts} == {"prompts"}
    assert any("picture seeds stand at several prompts" in note for note in judge(told, []).notes)
    assert not any("picture seeds" in note for note in judge(own, []).notes)


def test_one_noise_for_everything_claims_nothing() -> None:
    verdict = judge(simulate({TI: 0.1, DB: 0.9}, runs=1, prompts=32, seeds=1, crossed=True), [])
    assert {one.decision for one in verdict.differences} == {"undecided"}
    assert any("All pictures share one seed" in note for note in verdict.notes)


def test_values_without_a_seed_are_not_taken_for_shared_ones() -> None:
    told = [Score("diversity", name, 0.1 * i, 0, f"p{i}") for name in (TI, DB) for i in range(8)]
    assert Table.of(told).seeds is None


def test_draws_agree_with_the_interval() -> None:
    """The share of draws beyond an end of the interval is what the interval leaves there."""
    table = Table.of(scores(0.05, runs=4))
    drawn = table.posterior((*METHODS, BASE), 0)
    for other in (DB, HN):
        interval = table.difference(LORA, other).interval()
        ahead = drawn[LORA] - drawn[other]
        assert ahead.mean() == pytest.approx(interval.value, abs=0.01)
        assert (ahead < interval.low).mean() + (ahead > interval.high).mean() == pytest.approx(ALPHA, abs=0.025)


def test_methods_that_share_no_picture_have_no_joint_posterior() -> None:
    told = [Score("m", name, 0.1 * i, 0, f"p{i}", 2 * i + odd) for odd, name in enumerate((TI, DB)) for i in range(8)]
    assert Table.of(told).posterior((TI, DB), 0) is None


def test_a_training_that_failed_is_left_out_of_the_draws() -> None:
    told = [s for s in scores(0.05) if (s.method, s.replicate) != (LORA, 1)]
    drawn = Table.of(told).posterior(METHODS, 0)
    assert drawn is not None and all(np.isfinite(draws).all() for draws in drawn.values())


def test_draws_depend_on_the_seed_alone() -> None:
    table = Table.of(scores(0.05))
    one, again, other = (table.posterior(METHODS, seed)[LORA] for seed in (3, 3, 4))
    assert (one == again).all() and (one != other).any()
