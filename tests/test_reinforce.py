"""Whether several at once do more than each: planted combinations, and what the parts add."""

from tests.simulated import COSTS, HN, LORA, TI, follows, simulate
from triptych.verdict import MARGINS, Verdict, judge
from triptych.verdict.evidence import Evidence
from triptych.verdict.reinforce import question

BOTH, ALL = f"{TI}+{LORA}", f"{TI}+{HN}+{LORA}"


def test_a_combination_above_all_its_parts_reinforces() -> None:
    answer = judge(simulate({TI: 0.3, LORA: 0.5, BOTH: 0.8}), COSTS).together[BOTH]
    assert answer.answer == "yes"
    assert "LoRA alone" in answer.evidence


def test_a_combination_like_its_best_part_does_not() -> None:
    fidelity = {TI: 0.3, LORA: 0.8, BOTH: 0.8}
    calm = {TI: 0.95, LORA: 0.9, BOTH: 0.7}
    answer = judge(simulate(fidelity, calm, prompts=16, noise=0.02), COSTS).together[BOTH]
    assert answer.answer == "no"
    assert "Preservation of the rest of the base differs by \N{MINUS SIGN}0.2" in answer.evidence


def test_what_it_costs_in_prompts_is_told() -> None:
    scores = simulate({TI: 0.3, LORA: 0.5, BOTH: 0.8})
    told = judge(scores + follows(scores, {TI: 0.8, LORA: 0.9, BOTH: 0.5}), COSTS).together[BOTH].evidence
    assert "Prompt fidelity differs by \N{MINUS SIGN}0.4" in told and "which is more than the margin" in told


def test_combinations_make_no_method_less_sure() -> None:
    combined = (f"{TI}+{HN}", f"{HN}+{LORA}", BOTH, ALL)
    drawn = simulate({TI: 0.1, HN: 0.16, LORA: 0.25, **dict.fromkeys(combined, 0.0)}, noise=0.05)
    alone = [score for score in drawn if score.method not in combined]
    assert Evidence.of(drawn, COSTS, {}, MARGINS, 0).learned == Evidence.of(alone, COSTS, {}, MARGINS, 0).learned
    with_them, without = (judge(scores, COSTS).differences for scores in (drawn, alone))
    assert [one for one in with_them if not {one.method, one.other} & {*combined}] == list(without)
    assert any(one.p_difference < 1 for one in without)


def test_noise_leaves_it_open_and_names_what_would_decide() -> None:
    answer = judge(simulate({TI: 0.3, LORA: 0.6, BOTH: 0.7}, noise=0.06, between_runs=0.02), COSTS).together[BOTH]
    assert answer.answer not in ("yes", "no") and 0 < answer.probability < 1
    assert "trainings" in answer.evidence or "prompts" in answer.evidence


def test_what_each_part_adds_is_told_where_it_was_left_out() -> None:
    pairs = {f"{HN}+{LORA}": 0.5, BOTH: 0.85, f"{TI}+{HN}": 0.4}
    told = judge(simulate({TI: 0.3, HN: 0.2, LORA: 0.5, ALL: 0.85, **pairs}), COSTS).together[ALL].evidence
    added = told.split("Added to the rest: ")[1]
    assert added.startswith("textual inversion +0.3")
    assert "hypernetwork +0.0" in added or "hypernetwork \N{MINUS SIGN}0.0" in added or "hypernetwork 0.0" in added
    assert "LoRA +0.4" in added


def test_without_its_parts_there_is_nothing_to_ask() -> None:
    assert judge(simulate({TI: 0.3, BOTH: 0.8}), COSTS).together == {}


def test_it_survives_the_file() -> None:
    verdict = judge(simulate({TI: 0.3, LORA: 0.5, BOTH: 0.8}), COSTS)
    assert Verdict.from_json(verdict.to_json()).together == verdict.together
    assert question(BOTH) == "Do textual inversion and LoRA reinforce each other?"
