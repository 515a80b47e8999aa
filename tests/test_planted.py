"""Planted truths are found: copies, trainings that learn nothing, memorising ones; in scores, pictures and studies."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from tests.drawn import Study
from tests.simulated import COSTS, DB, LORA, TI, simulate
from tests.worlds import call, typed
from triptych.methods import PLUGINS
from triptych.methods.lora import Lora
from triptych.metrics import measure
from triptych.scores import BASE, Score
from triptych.verdict import Verdict, judge

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


def test_a_memorising_method_is_flagged_and_others_are_not() -> None:
    random = np.random.default_rng(0)
    scores = simulate({LORA: 0.8, DB: 0.9})
    own = [s for s in scores if s.metric == "subject_fidelity"]
    nearer = {LORA: 0.02, DB: 0.16, BASE: 0.0}
    scores += [
        Score("memorisation", s.method, nearer[s.method] + random.normal(0, 0.04), s.replicate, s.prompt, s.seed)
        for s in own
    ]
    verdict = judge(scores, COSTS)
    assert set(verdict.flags) == {DB}
    assert "May copy" in verdict.flags[DB][0]
    assert "Look at its pictures" in " ".join(verdict.recommendation.choice.reasons)


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
        study.draw(BASE, (90, 80 + i, 90), prompt=f"a {i}")
        study.draw("copies", shades[train[i % len(train)]], prompt=f"a {i}")
        study.draw("learned", (230, 230, 200 + i), prompt=f"a {i}")
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
    assert {one["decision"] for one in told} == {"no difference"}
    assert all(abs(one["interval"]["value"]) < 1e-3 for one in told)  # the rows of one pass differ by rounding

    words = typed(random_base, "try", folder, "--budget", "quick", "--precision", "fp32", "--out", tmp_path / "zero")
    assert call(monkeypatch, *words, "--methods", "lora", "-s", "lora.lr=0") == 0
    verdict = json.loads((tmp_path / "zero" / "verdict.json").read_text())
    for criterion in ("subject_fidelity", "diversity", "memorisation"):
        assert verdict["methods"]["lora"][criterion]["value"] == verdict["base"][criterion]["value"]
    assert verdict["methods"]["lora"]["base_preservation"]["low"] == pytest.approx(1, abs=1e-6)
    learned = json.loads((tmp_path / "out" / "verdict.json").read_text())["methods"]["lora"]
    assert learned["subject_fidelity"]["value"] != verdict["base"]["subject_fidelity"]["value"]
