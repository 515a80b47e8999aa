"""The verdict on planted cases: simulated scores whose truth is known."""

import json
import math
import re
from dataclasses import replace

import pytest

from tests.simulated import BYTES, COSTS, DB, FLOOR, HN, LORA, TI, decisions, follows, simulate
from triptych.errors import TriptychError
from triptych.scores import BASE, Cost, Score
from triptych.units import duration, size
from triptych.verdict import MARGINS, NEEDS, Verdict, judge
from triptych.verdict.evidence import Evidence, headline
from triptych.verdict.needed import needed
from triptych.verdict.words import figure


def test_much_worse_is_not_enough() -> None:
    verdict = judge(simulate({TI: 0.3, LORA: 0.8, DB: 0.85}), COSTS)
    answer = verdict.answers["textual_inversion_is_enough"]
    assert answer.answer == "no"
    assert "DreamBooth" in answer.evidence and "0.10" in answer.evidence


def test_equal_is_enough() -> None:
    assert decisions(judge(simulate({TI: 0.8, LORA: 0.8, DB: 0.8}), COSTS))["textual"] == "yes"


def test_noise_is_undecided_and_says_what_would_decide_it() -> None:
    verdict = judge(simulate({TI: 0.7, DB: 0.8}, noise=0.2, between_runs=0.06), COSTS)
    answer = verdict.answers["textual_inversion_is_enough"]
    assert answer.answer in ("cannot tell", "probably", "probably not")


def test_undecided_names_more_measuring() -> None:
    scores = simulate({TI: 0.85, DB: 0.8}, noise=0.12, prompts=8, seeds=1, runs=1, between_runs=0)
    answer = judge(scores, COSTS).answers["textual_inversion_is_enough"]
    assert answer.answer not in ("yes", "no") and "prompts instead of 8" in answer.evidence
    assert answer.further and answer.further.trainings == 1


def test_dreambooth_is_excessive_when_lora_does_the_same_and_disturbs_less() -> None:
    fidelity, calm = {TI: 0.3, LORA: 0.8, DB: 0.8}, {TI: 0.99, LORA: 0.9, DB: 0.6}
    verdict = judge(simulate(fidelity, calm), COSTS)
    assert decisions(verdict)["dreambooth"] == "yes"
    assert "LoRA" in verdict.answers["dreambooth_is_excessive"].evidence


def test_dreambooth_is_not_excessive_when_nothing_lighter_reaches_it() -> None:
    fidelity, calm = {TI: 0.3, LORA: 0.4, DB: 0.9}, {TI: 0.99, LORA: 0.9, DB: 0.6}
    assert decisions(judge(simulate(fidelity, calm), COSTS))["dreambooth"] == "no"


def test_dreambooth_is_not_excessive_when_the_lighter_disturbs_as_much() -> None:
    fidelity, calm = {LORA: 0.8, DB: 0.8}, {LORA: 0.55, DB: 0.6}
    assert decisions(judge(simulate(fidelity, calm), COSTS))["dreambooth"] == "no"


def test_dreambooth_is_excessive_where_something_lighter_is_better_however_it_disturbs() -> None:
    verdict = judge(simulate({LORA: 0.8, DB: 0.4}, {LORA: 0.4, DB: 0.8}), COSTS)
    assert decisions(verdict)["dreambooth"] == "yes"


def test_what_loses_the_prompt_is_worth_nothing_however_faithful() -> None:
    fidelity, calm = {TI: 0.85, LORA: 0.8, DB: 0.8}, {TI: 1.0, LORA: 0.6, DB: 0.6}
    scores = simulate(fidelity, calm)
    plain = judge(scores, COSTS)
    assert (decisions(plain)["textual"], decisions(plain)["dreambooth"]) == ("yes", "yes")
    assert any("headline figure is likeness alone" in note for note in plain.notes)
    verdict = judge(scores + follows(scores, {TI: 0.1, LORA: 0.8, DB: 0.8}), COSTS)
    assert decisions(verdict)["textual"] == "no" and decisions(verdict)["dreambooth"] == "no"
    assert verdict.methods[TI]["both"].value == pytest.approx(0.085, abs=0.03)
    assert all(choice.method in (LORA, DB) for choice in verdict.recommendation.by_need.values())


def test_two_negatives_never_make_a_good_one_and_the_best_is_1() -> None:
    floor, gap = 0.3, 0.5
    likeness = [Score("subject_fidelity", name, value, 0, "a cat", 0) for name, value in (("far", 0.0), ("over", 1.2))]
    for prompts, far, over in ((0.0, 0.0, 0.0), (1.0, -0.6, 1.0), (0.5, -0.3, 0.5)):
        kept = [replace(one, metric="prompt_fidelity", value=prompts) for one in likeness]
        values = {one.method: one.value for one in headline(likeness, kept, floor, gap)}
        assert values == pytest.approx({"far": far, "over": over})
    assert [one.value for one in headline(likeness, [], floor, gap)] == pytest.approx([-0.6, 1.0])
    assert list(headline(likeness, [replace(likeness[0], method="else")], floor, gap)) == []


def test_a_component_that_real_pictures_leave_unread_is_said() -> None:
    scores = simulate({TI: 0.85, DB: 0.8})
    read = [Score(f"prompt_{name}", "real", value) for name, value in (("thing", 0.1), ("background", 0.9))]
    notes = judge([*scores, *follows(scores, {TI: 0.9, DB: 0.9}), *read], COSTS).notes
    assert any("leaves out the thing:" in note for note in notes)


def test_results_are_told_by_stratum() -> None:
    scores = simulate({LORA: 0.8})
    strata = {f"a cat, {i}": "small" if i % 2 else "large" for i in range(8)}
    lower = [
        replace(s, value=FLOOR) if s.method == LORA and strata[s.prompt] == "small" else s
        for s in scores
        if s.metric == "subject_fidelity"
    ]
    told = judge([*lower, *(s for s in scores if s.metric == "ceiling")], COSTS, strata=strata).strata[LORA]
    assert list(told) == ["large", "small"]
    assert told["large"].value == pytest.approx(0.8, abs=0.15) and told["small"].value == pytest.approx(0, abs=0.15)


@pytest.mark.parametrize(
    ("fidelity", "calm", "answer"),
    [
        ({TI: 0.3, HN: 0.55, DB: 0.9}, {TI: 0.99, HN: 0.85, DB: 0.6}, "yes"),
        ({TI: 0.6, HN: 0.3, DB: 0.9}, {TI: 0.99, HN: 0.85, DB: 0.6}, "no"),  # below textual inversion
        ({TI: 0.3, HN: 0.9, DB: 0.6}, {TI: 0.99, HN: 0.85, DB: 0.6}, "no"),  # above DreamBooth
        ({TI: 0.8, HN: 0.8, DB: 0.8}, {TI: 0.99, HN: 0.85, DB: 0.6}, "no"),  # no ground between
        ({TI: 0.3, HN: 0.55, LORA: 0.8, DB: 0.9}, {TI: 0.99, HN: 0.7, LORA: 0.9, DB: 0.6}, "no"),  # LoRA dominates
    ],
)
def test_middle_ground(fidelity: dict[str, float], calm: dict[str, float], answer: str) -> None:
    verdict = judge(simulate(fidelity, calm), COSTS)
    found = verdict.answers["hypernetwork_is_a_middle_ground"]
    assert found.answer == answer, found.evidence


def test_a_copy_is_no_difference() -> None:
    scores = simulate({TI: 0.5, DB: 0.8})
    copies = [Score(s.metric, LORA, s.value, s.replicate, s.prompt, s.seed) for s in scores if s.method == DB]
    verdict = judge(scores + copies, COSTS)
    (same,) = [d for d in verdict.differences if {d.method, d.other} == {LORA, DB} and d.criterion == "both"]
    assert (same.interval.value, same.interval.low, same.interval.high) == (0, 0, 0)
    assert same.decision == "no difference"
    others = [d.decision for d in verdict.differences if TI in (d.method, d.other) and d.criterion == "fidelity"]
    assert others == ["worse", "worse"]


def test_every_pair_is_decided_one_way_or_says_what_would_decide_it() -> None:
    scores = simulate({TI: 0.3, HN: 0.79, LORA: 0.8, DB: 0.86}, runs=5, noise=0.03)
    known = {(d.method, d.other): d for d in judge(scores, COSTS).differences if d.criterion == "fidelity"}
    assert known[TI, DB].decision == "worse"
    assert known[HN, LORA].decision == "no difference"
    open_, _ = judge(simulate({LORA: 0.8, DB: 0.85}, noise=0.08), COSTS).differences
    assert open_.criterion == "both"
    assert open_.decision == "undecided"
    assert (open_.margin, open_.p_difference > 0.05, open_.p_equivalence > 0.05) == (0.10, True, True)
    assert re.search("(trainings of each method instead of 3|prompts instead of 8)", open_.needed)


def test_what_would_decide_it_has_its_price() -> None:
    priced = [replace(cost, seconds_a_picture=0.5) for cost in COSTS]
    scores = simulate({TI: 0.7, DB: 0.8}, runs=1, noise=0.17, prompts=8, seeds=1, between_runs=0)
    _, open_ = judge(scores, priced).differences
    assert open_.decision == "undecided"
    prompts = int(re.search(r"about (\d+) prompts instead of 8", open_.needed)[1])
    rows = len(COSTS) + 1  # the bare base is drawn too
    assert duration(rows * (prompts - 8) * 0.5) in open_.needed
    assert "more on this machine" not in judge(scores, []).differences[1].needed


def test_more_trainings_are_counted_with_the_pass_they_share_and_with_the_t_they_spare() -> None:
    together = (TI, HN, LORA)
    priced = [
        replace(cost, seconds_a_picture=0.1, seconds_shared=60.0, trained_with=tuple({*together} - {cost.method}))
        if cost.method in together
        else replace(cost, seconds_a_picture=0.1, seconds_shared=90.0)
        for cost in COSTS
    ]
    scores = simulate({TI: 0.3, HN: 0.5, LORA: 0.8, DB: 0.9}, noise=0.01, between_runs=0.05, prompts=64, seeds=1)
    evidence = Evidence.of(scores, priced, {}, MARGINS, 0)
    wide = evidence.both(LORA, DB)
    found = needed(evidence, wide, 0.9 * wide.half(0.05))
    assert found and found.prompts == 64 and found.trainings == 4  # the square root alone would not see t fall
    assert found.seconds == pytest.approx(60 + 90 + 64 * 4 * 0.1)


def test_where_lower_is_better_the_smaller_is_better() -> None:
    scores = simulate({TI: 0.5, DB: 0.8})
    near = [replace(s, metric="centroid_distance") for s in scores if s.metric == "subject_fidelity"]
    decisions = {d.criterion: d.decision for d in judge(scores + near, COSTS).differences if d.criterion != "both"}
    assert decisions == {"fidelity": "worse", "centroid_distance": "better"}


def test_learning_rate_zero_is_the_base() -> None:
    scores = simulate({DB: 0.8})
    base = [s for s in scores if s.method == BASE]
    untrained = [Score(s.metric, TI, s.value, run, s.prompt, s.seed) for s in base for run in range(3)]
    verdict = judge(scores + untrained, COSTS)
    row = verdict.methods[TI]["fidelity"]
    assert (row.value, row.low, row.high) == (0, 0, 0)
    assert decisions(verdict)["textual"] == "no"
    assert all(choice.method == DB or choice.method is None for choice in verdict.recommendation.by_need.values())


def test_near_the_best_but_not_above_the_floor_is_not_enough() -> None:
    """Where the best hardly learned, the untrained lies within the margin of it."""
    scores = simulate({LORA: 0.07}, noise=0.005, between_runs=0.0005)
    base = [s for s in scores if s.method == BASE]
    untrained = [Score(s.metric, TI, s.value, run, s.prompt, s.seed) for s in base for run in range(3)]
    answer = judge(scores + untrained, COSTS).answers["textual_inversion_is_enough"]
    assert answer.answer == "cannot tell" and "not surely above the bare base" in answer.evidence


def test_nothing_learned_recommends_nothing() -> None:
    verdict = judge(simulate({TI: 0.0, DB: 0.0}), COSTS)
    assert set(decisions(verdict).values()) == {"cannot tell"}
    assert verdict.recommendation.choice.method is None
    assert "more steps" in verdict.recommendation.choice.reasons[0]


def test_two_trainings_that_claim_nothing_say_that_more_would() -> None:
    """What all methods share in a training is then known by a single difference; one training states nothing of it."""
    truths = {TI: 0.3, HN: 0.35, LORA: 0.4, DB: 0.5}
    one, verdict = (judge(simulate(truths, noise=0.05, between_runs=0.02, runs=runs), COSTS) for runs in (1, 2))
    assert one.recommendation.choice.method == DB
    told = [verdict.answers["textual_inversion_is_enough"].evidence, verdict.recommendation.choice.reasons[-1]]
    assert verdict.recommendation.choice.method is None
    assert all("3 trainings of each method instead of 2" in sentence for sentence in told)
    assert "If that finds nothing, try more steps" in told[1], "what the study itself could do comes first"


def test_a_failure_is_named_and_takes_nothing_down() -> None:
    verdict = judge(simulate({TI: 0.8, LORA: 0.8}), COSTS, failures={DB: "the loss became infinite at step 12"})
    assert verdict.answers["dreambooth_is_excessive"].answer == "cannot tell"
    assert "step 12" in verdict.answers["dreambooth_is_excessive"].evidence
    assert decisions(verdict)["textual"] == "yes"
    assert verdict.failures[DB]


def test_missing_methods_are_named() -> None:
    verdict = judge(simulate({LORA: 0.8}), COSTS)
    assert set(decisions(verdict).values()) == {"cannot tell"}
    assert "textual inversion" in verdict.answers["textual_inversion_is_enough"].evidence


def test_the_base_already_draws_it() -> None:
    scores = [s for s in simulate({TI: 0.5, DB: 0.8}) if s.metric != "ceiling"]
    verdict = judge([*scores, Score("ceiling", "real", FLOOR + MARGINS.gap / 2)], COSTS)
    assert not verdict.anchors.usable
    assert "already draws it" in verdict.answers["textual_inversion_is_enough"].evidence
    assert "fidelity" not in verdict.methods[TI]


@pytest.mark.parametrize("drop", ["ceiling", BASE])
def test_without_anchors_there_is_no_fidelity(drop: str) -> None:
    scores = [s for s in simulate({TI: 0.5, DB: 0.8}) if drop not in (s.metric, s.method)]
    assert set(decisions(judge(scores, COSTS)).values()) == {"cannot tell"}


def test_a_single_training_seed_is_said() -> None:
    verdict = judge(simulate({TI: 0.5, DB: 0.8}, runs=1), COSTS)
    assert verdict.replicates == 1
    assert "one training seed" in verdict.notes[0]
    assert not any("training seed" in note for note in judge(simulate({TI: 0.5, DB: 0.8}), COSTS).notes)


def test_one_picture_decides_nothing() -> None:
    verdict = judge(simulate({TI: 0.1, DB: 0.9}, runs=1, prompts=1, seeds=1), COSTS)
    assert math.isinf(verdict.methods[DB]["fidelity"].low)
    assert set(decisions(verdict).values()) == {"cannot tell"}
    assert json.loads(verdict.to_json())["methods"][DB]["fidelity"]["low"] is None


def test_an_interval_ends_where_its_criterion_does() -> None:
    shares = [Score("prompt_fidelity", DB, float(i != 3), 0, f"a cat, {i}", i) for i in range(8)]
    told = judge([*simulate({DB: 0.8}, runs=1), *shares], COSTS).methods[DB]["prompt_fidelity"]
    assert told.value == 7 / 8 and told.high == 1 and 0 < told.low < told.value


def test_nothing_measured() -> None:
    verdict = judge([], [])
    assert verdict.methods == {} and verdict.recommendation.choice.method is None


def test_a_need_is_a_declared_weight_on_declared_criteria() -> None:
    fidelity = {TI: 0.8, HN: 0.8, LORA: 0.81, DB: 0.82}
    calm = {TI: 0.7, HN: 0.85, LORA: 0.95, DB: 0.6}
    scores = simulate(fidelity, calm)
    verdict = judge(scores + follows(scores, dict.fromkeys(BYTES, 0.8)), COSTS)
    by_need = verdict.recommendation.by_need
    assert set(by_need) == set(NEEDS) == set(verdict.needs)
    assert (by_need["small"].method, by_need["fast"].method) == (TI, TI)
    assert by_need["editability"].method == LORA
    assert by_need["portable"].method in (TI, HN, LORA)
    assert "not measured" in by_need["portable"].caveats[0]
    assert all(0 < sum(weights.values()) <= 1 for weights in verdict.needs.values())


def test_no_need_makes_up_for_half_of_the_headline_by_little() -> None:
    """A file 6,000 times as small is worth a factor of two at most, and nothing at all is worth nothing."""
    small = judge(simulate({TI: 0.25, DB: 0.9}), COSTS, need="small").recommendation
    assert small.choice.method == DB
    assert judge(simulate({TI: 0.6, DB: 0.9}), COSTS, need="small").recommendation.choice.method == TI
    portable = small.by_need["portable"]
    assert portable.method == TI and portable.runner_up is None  # DreamBooth is no file that attaches


def test_where_another_base_drew_the_portable_choice_is_what_carries_over() -> None:
    scores = simulate({TI: 0.7, LORA: 0.8, DB: 0.8})
    own = [s for s in scores if s.metric == "subject_fidelity" and s.seed is not None and s.seed % 3 == 0]
    carried = {BASE: FLOOR, TI: FLOOR + 0.3, LORA: FLOOR + 0.05, DB: FLOOR + 0.4}
    there = [replace(s, metric="portability", value=carried[s.method] + 0.01 * (i % 3)) for i, s in enumerate(own)]
    choice = judge(scores + there, COSTS).recommendation.by_need["portable"]
    assert choice.method == TI  # DreamBooth carries over too, but is no file that attaches
    assert "on the other base that was tried" in " ".join(choice.reasons)
    assert not any("second base was not measured" in caveat for caveat in choice.caveats)


def test_a_close_choice_is_said_to_be_close_and_what_would_change_it() -> None:
    choice = judge(simulate({LORA: 0.8, DB: 0.82}, noise=0.1), COSTS).recommendation.choice
    assert any("not surely" in one for one in choice.caveats) and "A sure lead of" in choice.would_change
    clear = judge(simulate({LORA: 0.3, DB: 0.9}), COSTS).recommendation.choice
    assert not clear.caveats and "would have to gain more than" in clear.would_change


def test_the_front() -> None:
    calm = {TI: 0.99, HN: 0.5, LORA: 0.8, DB: 0.6}
    assert judge(simulate({TI: 0.3, HN: 0.5, LORA: 0.7, DB: 0.9}, calm), COSTS).front == (DB, LORA, TI)


def test_json_is_the_contract_and_comes_back_whole() -> None:
    verdict = judge(simulate({TI: 0.5, DB: 0.8}, {TI: 0.9, DB: 0.6}), COSTS, need="small", failures={LORA: "why"})
    data = json.loads(verdict.to_json())
    assert set(data["methods"][TI]["fidelity"]) == {"value", "low", "high", "n"}
    assert data["methods"][TI]["subject_fidelity"]["n"] == 3 * 8 * 3
    assert set(data["answers"]) == {
        "textual_inversion_is_enough",
        "dreambooth_is_excessive",
        "hypernetwork_is_a_middle_ground",
    }
    assert data["recommendation"]["need"] == "small" and data["recommendation"]["reasons"]
    assert data["base"]["subject_fidelity"]["n"] == 8 * 3
    assert data["anchors"]["ceiling"]["low"] is None
    assert Verdict.from_json(verdict.to_json()) == verdict


@pytest.mark.parametrize("text", ["", "{}", '{"schema": 99}', "[]"])
def test_what_is_not_a_verdict_is_refused(text: str) -> None:
    with pytest.raises(TriptychError, match="judge the study again"):
        Verdict.from_json(text)


def test_the_same_scores_give_the_same_verdict() -> None:
    scores = simulate({TI: 0.5, HN: 0.6, LORA: 0.7, DB: 0.8}, runs=1)
    assert judge(scores, COSTS, seed=3) == judge(scores, COSTS, seed=3)
    assert judge(scores, COSTS, seed=3) != judge(scores, COSTS, seed=4)


def test_a_missing_picture_is_left_out_of_both() -> None:
    scores = simulate({TI: 0.5, DB: 0.8})
    whole = judge(scores, COSTS).differences[0].interval
    lost = next(s for s in scores if s.method == TI and s.replicate == 1)
    part = judge([s for s in scores if s is not lost], COSTS).differences[0].interval
    assert (whole.n, part.n) == (72, 71)
    assert part.value == pytest.approx(whole.value, abs=0.02)


def test_figures_read_well() -> None:
    assert [size(count) for count in (12, 999_600, 4.2e6)] == [
        "12 bytes",
        "1 MB",
        "4.2 MB",
    ]
    told = [duration(seconds) for seconds in (9.96, 59.6, 125, 7390)]
    assert told == ["10 s", "1 min", "2 min 5 s", "2 h 3 min"]
    assert [figure(value, signed=True) for value in (0.001, 0.123, -0.5)] == ["0.00", "+0.12", "\N{MINUS SIGN}0.50"]


def test_a_combination_is_recommended_as_what_it_is() -> None:
    both = f"{TI}+{LORA}"
    costs = [*COSTS, Cost(both, True, 76_000, 304_000, 400, 3200, seconds_alone=60.0)]
    scores = simulate({TI: 0.4, LORA: 0.5, DB: 0.45, both: 0.9}, {TI: 1.0, LORA: 0.9, DB: 0.6, both: 0.9, BASE: 1.0})
    verdict = judge(scores, costs)
    choice = verdict.recommendation.choice
    assert choice.method == both
    assert any("no method of its own: it needs textual inversion and LoRA" in caveat for caveat in choice.caveats)
    without = judge([score for score in scores if score.method != both], COSTS)
    assert decisions(verdict) == decisions(without), "the questions are about methods"
    assert any({one.method, one.other} == {LORA, both} for one in verdict.differences), "what the word adds to LoRA"
