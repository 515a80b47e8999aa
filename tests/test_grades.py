"""Graded answers, regret, and looks: planted cases whose chances are known."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from tests.simulated import BYTES, COSTS, DB, HN, LORA, TI, simulate
from triptych.scores import BASE, Cost
from triptych.verdict import MARGINS, Choice, Look, Verdict, further, judge, settled
from triptych.verdict.looks import SHARES, alphas, spent
from triptych.verdict.settling import answer_settled, choice_settled
from triptych.verdict.statements import Means, enough, excessive, middle, reinforces
from triptych.verdict.summary import graded, lead, summary
from triptych.verdict.values import CONVINCED, PROBABLY, Answer, Further
from triptych.verdict.words import percent

EVERY = (TI, HN, LORA, DB)


def means(both: dict[str, float], calm: dict[str, float] | None = None) -> Means:
    made = {name: np.array([value]) for name, value in {BASE: 0.0, **both}.items()}
    return Means(made, {name: np.array([value]) for name, value in (calm or {}).items()}, MARGINS)


@pytest.mark.parametrize(
    ("both", "yes", "no"),
    [
        ({TI: 0.5, DB: 0.55}, True, False),
        ({TI: 0.5, DB: 0.65}, False, True),
        ({TI: -0.01, DB: 0.05}, False, False),  # near the best, and below the bare base
    ],
)
def test_enough(both: dict[str, float], yes: bool, no: bool) -> None:
    stated = enough(means(both), TI, [DB])
    assert (stated.yes[0], stated.no[0]) == (yes, no)


@pytest.mark.parametrize(
    ("lora", "calm", "yes", "no"),
    [
        (0.5, 0.9, True, False),  # as good, and disturbs less
        (0.7, 0.1, True, False),  # better by more than the margin
        (0.3, 0.9, False, True),
        (0.5, 0.55, True, True),  # disturbs less by what does not matter: either may be said
        (0.5, 0.4, False, True),
    ],
)
def test_excessive(lora: float, calm: float, yes: bool, no: bool) -> None:
    stated = excessive(means({LORA: lora, DB: 0.5}, {LORA: calm, DB: 0.5}), DB, [LORA])
    assert (stated.yes[0], stated.no[0]) == (yes, no)


@pytest.mark.parametrize(
    ("both", "calm", "yes"),
    [
        ({TI: 0.2, HN: 0.5, LORA: 0.1, DB: 0.8}, {TI: 0.9, HN: 0.8, LORA: 0.9, DB: 0.5}, True),
        ({TI: 0.2, HN: 0.5, LORA: 0.6, DB: 0.8}, {TI: 0.9, HN: 0.8, LORA: 0.9, DB: 0.5}, False),  # LoRA does it all
        ({TI: 0.8, HN: 0.8, LORA: 0.1, DB: 0.8}, {TI: 0.9, HN: 0.8, LORA: 0.9, DB: 0.5}, False),  # no ground between
        ({TI: 0.5, HN: 0.2, LORA: 0.1, DB: 0.8}, {TI: 0.9, HN: 0.8, LORA: 0.9, DB: 0.5}, False),
    ],
)
def test_middle(both: dict[str, float], calm: dict[str, float], yes: bool) -> None:
    def lightness(name: str) -> int:
        return (BYTES[name] < BYTES[HN]) - (BYTES[name] > BYTES[HN])

    stated = middle(means(both, calm), (TI, DB), HN, [TI, LORA, DB], lightness)
    assert (stated.yes[0], stated.no[0]) == (yes, not yes)


def test_reinforces() -> None:
    stated = reinforces(means({TI: 0.3, LORA: 0.5, "both": 0.55}), "both", [TI, LORA])
    assert stated.yes[0] and stated.no[0]  # better, by less than what matters


def graded_answers(seed: int, gap: float) -> Answer:
    verdict = judge(simulate({TI: 0.6, DB: 0.6 + gap}, noise=0.06, prompts=16, seeds=1, seed=seed), COSTS)
    return verdict.answers["textual_inversion_is_enough"]


@pytest.mark.slow
def test_what_is_not_sure_is_graded_by_its_probability() -> None:
    told = [graded_answers(seed, gap) for seed in range(12) for gap in (0.02, 0.09, 0.18)]
    assert {one.answer for one in told} == {"yes", "probably", "cannot tell", "probably not", "no"}
    for one in told:
        assert one.probability is not None
        if one.answer in ("probably", "probably not"):
            assert one.probability >= PROBABLY
        if one.answer == "cannot tell":
            assert 1 - PROBABLY < one.probability < PROBABLY
        if one.answer in ("yes", "no"):
            assert one.probability > 0.9


def test_what_is_not_measured_has_no_probability() -> None:
    answers = judge(simulate({LORA: 0.8}), COSTS).answers.values()
    assert {(one.answer, one.probability) for one in answers} == {("cannot tell", None)}


def test_regret_is_the_chance_that_another_is_better_by_more_than_the_margin() -> None:
    clear = judge(simulate({LORA: 0.8, DB: 0.3}), COSTS).recommendation.choice
    assert (clear.method, clear.regret) == (LORA, 0.0)
    assert "is under 1 %." in clear.reasons[0]
    close = judge(simulate({LORA: 0.62, DB: 0.6}, noise=0.2, prompts=8, seeds=1, runs=1), COSTS).recommendation.choice
    assert close.regret is not None and 0.005 < close.regret < 0.5
    assert close.rival in (LORA, DB) and close.rival != close.method
    assert percent(close.regret) in close.reasons[0] and "most likely it would be" in close.reasons[0]


def test_what_copies_is_no_alternative() -> None:
    scores = simulate({LORA: 0.5, DB: 0.9}, noise=0.1, prompts=32, seeds=1, runs=1)
    copies = [replace(s, metric="copying", value=float(s.method == DB)) for s in scores if s.metric != "ceiling"]
    choice = judge([*scores, *copies], COSTS).recommendation.choice
    assert (choice.method, choice.regret, choice.rival) == (LORA, 0.0, None)


def test_dreambooth_is_excessive_by_the_best_of_the_lighter_methods() -> None:
    """However surely another one disturbs the base less."""
    fidelity, calm = {"ag": 0.29, LORA: 0.6, DB: 0.3}, {"ag": 0.95, LORA: 0.3, DB: 0.6}
    small = Cost("ag", True, 128, 1_900, 0, 0, seconds_alone=0.1)
    answer = judge(simulate(fidelity, calm, runs=1, prompts=32, seeds=1), [*COSTS, small]).answers
    told = answer["dreambooth_is_excessive"]
    assert told.answer == "yes" and told.evidence.startswith("LoRA is ahead of DreamBooth")


# --- looks


def test_the_looks_together_spend_the_level_and_hardly_anything_early() -> None:
    assert sum(alphas()) == pytest.approx(0.05)
    assert alphas()[0] == pytest.approx(8.9e-5, rel=0.01) and spent(0.5) == pytest.approx(0.00557, rel=0.01)
    assert all(one < other for one, other in pairwise(alphas()))
    assert len(alphas()) == len(SHARES)


def test_an_early_look_has_wider_intervals_and_claims_less() -> None:
    scores = simulate({TI: 0.5, DB: 0.62}, noise=0.05, prompts=16, seeds=1)
    early, late = (judge(scores, COSTS, looks=[Look(16, alpha)]).differences[0] for alpha in (1e-4, 0.05))
    assert early.interval.low < late.interval.low and early.interval.high > late.interval.high
    assert early.p_difference > late.p_difference
    assert judge(scores, COSTS).differences[0] == late


def test_several_looks_are_told() -> None:
    scores = simulate({TI: 0.5, DB: 0.8})
    verdict = judge(scores, COSTS, looks=[Look(8, 0.05), Look(16, 0.05)])
    assert any("judged at 8 and 16 prompts" in note and "at most 10 %" in note for note in verdict.notes)
    assert Verdict.from_json(verdict.to_json()).looks == (Look(8, 0.05), Look(16, 0.05))


def test_when_a_question_may_be_left() -> None:
    more = Further(64, 1)
    assert answer_settled(Answer("yes", "")) and answer_settled(Answer("cannot tell", "nothing measured"))
    assert not answer_settled(Answer("cannot tell", "", 0.5, more))
    assert not answer_settled(Answer("cannot tell", "nothing learned yet", None, more))
    assert not answer_settled(Answer("probably", "", CONVINCED - 0.01, more))
    assert answer_settled(Answer("probably not", "", CONVINCED, more))
    assert choice_settled(Choice(LORA, DB, (), regret=0.1, further=more))
    assert not choice_settled(Choice(LORA, DB, (), regret=0.2, further=more))
    assert not choice_settled(Choice(None, None, (), further=more)) and choice_settled(Choice(None, None, ()))


def test_a_clear_study_is_settled_and_a_noisy_one_is_not() -> None:
    truths = {TI: 0.2, HN: 0.5, LORA: 0.1, DB: 0.9}
    calm = {TI: 0.95, HN: 0.9, LORA: 0.7, DB: 0.5}
    assert settled(judge(simulate(truths, calm), COSTS))
    noisy = judge(simulate({TI: 0.62, HN: 0.66, LORA: 0.7, DB: 0.7}, calm, noise=0.2, runs=1), COSTS)
    assert not settled(noisy) and (more := further(noisy)) and more.prompts > 8


# --- words


def test_the_console_leads_with_the_recommendation_and_its_regret() -> None:
    verdict = judge(simulate({TI: 0.3, HN: 0.5, LORA: 0.8, DB: 0.7}, {TI: 1, HN: 0.9, LORA: 0.8, DB: 0.6}), COSTS)
    lines = list(summary(verdict))
    assert lines[0].startswith("For fidelity: LoRA; the chance that another is better by more than 0.10 is ")
    assert any(line.startswith("Is textual inversion enough?") and line.endswith("no (over 99 %)") for line in lines)


def test_the_console_says_once_what_a_high_chance_lacks_to_be_a_yes() -> None:
    verdict = judge(simulate({TI: 0.3, HN: 0.5, LORA: 0.8, DB: 0.7}), COSTS)
    for answer, times in (("probably", 1), ("yes", 0)):
        told = replace(verdict, answers={name: Answer(answer, "", 0.999) for name in verdict.answers})
        assert "\n".join(summary(told)).count("need a test at 95 %") == times


def test_grades_in_words() -> None:
    assert graded(Answer("probably", "", 0.84)) == "probably (84 %)"
    assert graded(Answer("cannot tell", "", 0.4)) == "cannot tell (yes with 40 %)"
    assert graded(Answer("cannot tell", "")) == "cannot tell"
    assert lead(Choice(None, None, ()), 0.1) == "nothing to recommend"
    assert [percent(chance) for chance in (0.001, 0.06, 0.999)] == ["under 1 %", "6 %", "over 99 %"]
