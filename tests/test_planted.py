"""Planted truths are found: copies, trainings that learn nothing, memorising ones; in scores, pictures and studies."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from benchmarks.planted import TWIN, cheap, found
from tests.drawn import Study
from tests.simulated import COSTS, DB, LORA, TI, simulate
from tests.worlds import call, typed
from triptych.methods import PLUGINS
from triptych.methods.lora import Lora
from triptych.metrics import measure
from triptych.scores import BASE, Score
from triptych.verdict import Look, Verdict, judge
from triptych.verdict.looks import alphas

COPY = "lora-again"


def decided(verdict: Verdict, criterion: str = "fidelity") -> dict[tuple[str, str], str]:
    return {(d.method, d.other): d.decision for d in verdict.differences if d.criterion == criterion}


# --- in scores


def test_a_tenth_of_the_steps_loses() -> None:
    """A curve of learning that saturates: a tenth of the steps reach a third of the way."""
    full, tenth = 1 - np.exp(-3.0), 1 - np.exp(-0.3)
    verdict = judge(simulate({LORA: 0.8 * full, "lora-tenth": 0.8 * tenth}, noise=0.06, between_runs=0.02), COSTS)
    assert decided(verdict) == {(LORA, "lora-tenth"): "better"}
    assert verdict.recommendation.choice.method == LORA


def planted_scores(runs: int, seed: int = 0) -> list[Score]:
    """Two honest rows, and every bad one as its pictures would be measured."""
    truths = {  # fidelity, prompt fidelity, share of copies, preservation
        BASE: (0.0, 0.95, 0.0, 1.0), LORA: (0.6, 0.8, 0.0, 0.7), TI: (0.4, 0.6, 0.05, 0.95),
        "parrot": (1.6, 0.08, 1.0, 0.0), "bare": (0.0, 0.95, 0.0, 1.0), "noise": (-0.4, 0.02, 0.0, -0.2),
        "shuffled": (0.6, 0.07, 0.0, 0.1), "rate-0": (0.0, 0.95, 0.0, 1.0), "by-heart": (0.9, 0.15, 0.7, 0.3),
        "hardly": (0.15, 0.9, 0.0, 0.97), TWIN: (0.6, 0.8, 0.0, 0.7),
    }  # fmt: skip
    scores = simulate(
        {name: one[0] for name, one in truths.items() if name not in (BASE, TWIN)},
        {name: one[3] for name, one in truths.items() if name != TWIN},
        runs=runs, prompts=32, seeds=1, noise=0.06, seed=seed,
    )  # fmt: skip
    random = np.random.default_rng(seed)
    for one in [s for s in scores if s.metric == "subject_fidelity"]:
        _, prompts, copies, _ = truths[one.method]
        kept = float(np.clip(random.beta(4 * prompts + 0.01, 4 * (1 - prompts) + 0.01), 0, 1))
        scores += [
            replace(one, metric="prompt_fidelity", value=kept),
            replace(one, metric="copying", value=float(random.random() < copies)),
        ]
    untrained = {(s.metric, s.prompt, s.seed): s.value for s in scores if s.method == BASE}
    scores = [
        replace(s, value=untrained.get((s.metric, s.prompt, s.seed), s.value)) if s.method in ("bare", "rate-0") else s
        for s in scores
    ]
    return scores + [replace(s, method=TWIN) for s in scores if s.method == LORA]


@pytest.mark.parametrize(("runs", "seed"), [(1, 0), (1, 1), (1, 2), (3, 0)])
def test_no_bad_row_is_recommended_for_any_need_and_copies_are_flagged(runs: int, seed: int) -> None:
    scores = planted_scores(runs, seed)
    names = {s.method for s in scores} - {BASE, "real"}
    honest = [replace(cost, file_bytes=10**6, seconds_alone=60.0) for cost in COSTS if cost.method in (LORA, TI)]
    verdict = judge(scores, [*honest, *cheap(names - {LORA, TI})])
    missed = [truth for truth, told in found(verdict, LORA).items() if not told]
    assert missed == []
    assert {choice.method for choice in verdict.recommendation.by_need.values()} <= {LORA, TWIN, TI}


@pytest.mark.parametrize("alpha", alphas())
def test_no_early_look_recommends_a_bad_row_either(alpha: float) -> None:
    scores = planted_scores(1)
    names = {s.method for s in scores} - {BASE, "real"}
    honest = [replace(cost, file_bytes=10**6, seconds_alone=60.0) for cost in COSTS if cost.method in (LORA, TI)]
    choices = judge(scores, [*honest, *cheap(names - {LORA, TI})], looks=[Look(32, alpha)]).recommendation.by_need
    assert {choice.method for choice in choices.values()} <= {LORA, TWIN, TI}
    assert {choice.rival for choice in choices.values()} <= {LORA, TWIN, TI, "hardly", None}


@pytest.mark.parametrize("bad", ["parrot", "bare", "noise", "shuffled", "rate-0", "by-heart"])
@pytest.mark.parametrize("asked", [TI, DB])
def test_a_bad_row_in_a_methods_place_is_not_enough_and_what_replaces_it_is(bad: str, asked: str) -> None:
    """The three questions see through it as well."""
    kept = {BASE, LORA, bad, "real"}
    scores = [replace(s, method=asked) if s.method == bad else s for s in planted_scores(3) if s.method in kept]
    answers = judge(scores, COSTS).answers
    if asked == TI:
        assert answers["textual_inversion_is_enough"].answer in ("no", "probably not")
    assert answers["textual_inversion_is_enough"].answer not in ("yes", "probably")
    if asked == DB:
        assert answers["dreambooth_is_excessive"].answer == "yes"


def test_a_method_called_by_the_class_word_is_said_to_leak() -> None:
    scores = [
        Score(metric, name, 0.5, 0, f"a cat {i}", 0, f"{name}/{i}.png" if name == LORA else f"{name}/{metric}/{i}.png")
        for metric in ("subject_fidelity", "leakage")
        for name in (LORA, TI)
        for i in range(3)
    ]
    assert set(judge(scores, []).flags) == {LORA}


# --- in pictures


def test_pictures_that_are_the_training_pictures_are_flagged(tmp_path: Path) -> None:
    shades = [(255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 0), (255, 0, 255), (0, 255, 255)]
    study = Study(tmp_path, shades)
    train = study.evidence.concept.split(0).train
    for i in range(16):
        study.draw(BASE, (90, 80 + i, 90), prompt=f"a {i}", seed=i)
        study.draw("copies", shades[train[i % len(train)]], prompt=f"a {i}", seed=i)
        study.draw("learned", (230, 230, 200 + i), prompt=f"a {i}", seed=i)
    verdict = judge(measure(study.evidence), [])
    assert set(verdict.flags) == {"copies"}


# --- in a study on a random base


@pytest.fixture
def copy() -> Iterator[str]:
    class Again(Lora):
        """LoRA under another name."""

        name = COPY

    with PLUGINS.added(Again):
        yield COPY


@pytest.mark.study
def test_two_copies_are_no_difference_and_learning_rate_0_is_the_base(
    copy: str, folder: Path, random_base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = typed(random_base, "try", folder, "--budget", "quick", "--precision", "fp32", "--out", tmp_path / "out")
    words += ["--methods", f"lora,{copy}"]
    for name in ("lora", copy):
        words += ["-s", f"{name}.lr=1e-2", "-s", f"{name}.steps=4", "-s", f"{name}.batch=2"]
    assert call(monkeypatch, *words) == 0
    told = json.loads((tmp_path / "out" / "verdict.json").read_text())["differences"]
    assert {one["criterion"] for one in told} >= {"base_preservation", "diversity", "memorisation"}
    assert {one["criterion"]: one["decision"] for one in told if one["decision"] != "no difference"} == {}
    assert all(abs(one["interval"]["value"]) < 1e-3 for one in told)  # the rows of one pass differ by rounding

    words = typed(random_base, "try", folder, "--budget", "quick", "--precision", "fp32", "--out", tmp_path / "zero")
    assert call(monkeypatch, *words, "--methods", "lora", "-s", "lora.lr=0") == 0
    verdict = json.loads((tmp_path / "zero" / "verdict.json").read_text())
    for criterion in ("subject_fidelity", "diversity", "memorisation"):
        assert verdict["methods"]["lora"][criterion]["value"] == verdict["base"][criterion]["value"]
    assert verdict["methods"]["lora"]["base_preservation"]["low"] == pytest.approx(1, abs=1e-4)
    learned = json.loads((tmp_path / "out" / "verdict.json").read_text())["methods"]["lora"]
    assert learned["subject_fidelity"]["value"] != verdict["base"]["subject_fidelity"]["value"]
