"""A second image encoder: where it leans the other way, an answer is "probably" at most, and the report says so."""

import tomllib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import Dinov2Config, Dinov2Model

from tests.plain import call
from tests.simulated import COSTS, DB, HN, LORA, TI, decisions, simulate
from triptych.base.description import encoders_named
from triptych.errors import TriptychError
from triptych.metrics.encoders import open_encoder
from triptych.metrics.encoders.efficientnet import EfficientNetLite0
from triptych.report import build
from triptych.scores import read_scores
from triptych.verdict import Verdict, judge
from triptych.verdict.second_encoders import agreed, leans
from triptych.verdict.summary import summary
from triptych.verdict.values import Answer

CALM = {TI: 1.0, HN: 0.9, LORA: 0.95, DB: 0.6}
LIGHT_IS_BEHIND = {TI: 0.2, HN: 0.5, LORA: 0.8, DB: 0.8}
LIGHT_IS_AHEAD = {TI: 0.8, HN: 0.5, LORA: 0.3, DB: 0.3}


def seen(fidelity: dict[str, float], seed: int = 0) -> Verdict:
    return judge(simulate(fidelity, CALM, prompts=32, seeds=1, seed=seed), COSTS)


def test_an_eye_that_agrees_changes_nothing_but_is_named() -> None:
    first = seen(LIGHT_IS_BEHIND)
    both = agreed(first, seen(LIGHT_IS_BEHIND, seed=1), "dinov2")
    assert replace(both, second_encoders=()) == first
    [second] = both.second_encoders
    assert (second.name, second.usable, second.against) == ("dinov2", True, ())
    assert both.second_encoders[0].both[LORA].value == pytest.approx(0.8, abs=0.05)
    assert list(summary(both))[-1] == "another image encoder, dinov2, shares every claim"


def test_a_claim_that_another_eye_does_not_share_is_probable_at_most() -> None:
    first, second = seen(LIGHT_IS_BEHIND), seen(LIGHT_IS_AHEAD)
    assert (decisions(first)["textual"], decisions(second)["textual"]) == ("no", "yes")
    both = agreed(first, second, "dinov2")
    answer = both.answers["textual_inversion_is_enough"]
    assert answer.answer == "probably not"
    assert "Another image encoder, dinov2, answers: yes" in answer.evidence
    turned = agreed(second, first, "dinov2").answers["textual_inversion_is_enough"]
    assert turned.answer == "probably"
    line = list(summary(both))[-1]
    assert "sees it otherwise" in line and "Is textual inversion enough? dinov2 answers: yes" in line
    assert "\n" not in line


def test_another_recommendation_is_said_beside_the_first() -> None:
    first = seen(LIGHT_IS_BEHIND)
    both = agreed(first, seen(LIGHT_IS_AHEAD), "dinov2")
    assert both.recommendation.choice.method == first.recommendation.choice.method != TI
    assert both.recommendation.choice.caveats[-1] == "By another image encoder, dinov2, it is textual inversion."
    assert "recommends otherwise" in both.second_encoders[0].against[-1]
    assert "editability: textual inversion, not LoRA" in both.second_encoders[0].against[-1]


def test_an_eye_that_cannot_tell_the_concept_says_nothing() -> None:
    first = seen(LIGHT_IS_BEHIND)
    blind = [
        replace(score, value=0.8) if score.metric in ("ceiling", "subject_fidelity") else score
        for score in simulate(LIGHT_IS_AHEAD, CALM)
    ]
    both = agreed(first, judge(blind, COSTS), "dinov2")
    assert replace(both, second_encoders=()) == first
    assert list(summary(both))[-1].endswith("so it says nothing")


@pytest.mark.parametrize(
    ("answer", "leaning"),
    [
        (Answer("yes", ""), True), (Answer("probably not", ""), False), (Answer("cannot tell", ""), None),
        (Answer("cannot tell", "", 0.7), True), (Answer("cannot tell", "", 0.3), False),
    ],
)  # fmt: skip
def test_what_an_answer_leans_to(answer: Answer, leaning: bool | None) -> None:
    assert leans(answer) is leaning


def test_the_file_of_a_verdict_keeps_the_eyes(tmp_path: Path) -> None:
    both = agreed(seen(LIGHT_IS_BEHIND), seen(LIGHT_IS_AHEAD), "dinov2")
    assert Verdict.from_json(both.to_json()).second_encoders == both.second_encoders
    (tmp_path / "verdict.json").write_text(both.to_json())
    page = build(tmp_path).read_text()
    assert (
        "Another image encoder, dinov2, sees it otherwise" in page and "Both at once, by other image encoders" in page
    )


def test_eyes_are_named_with_commas() -> None:
    assert encoders_named("a/b, c") == ("a/b", "c")
    for text in ("a,", "a,a", ","):
        with pytest.raises(TriptychError, match="name each once"):
            encoders_named(text)


@pytest.mark.study
def test_a_study_by_two_eyes(
    random_base: Path, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """On random encoders: both are asked, each once, and the report, the console and study.toml name both."""
    torch.manual_seed(7)
    size = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "image_size": 28, "patch_size": 14}
    Dinov2Model(Dinov2Config(**size)).save_pretrained(tmp_path / "second")
    second_encoders = f"{random_base / 'dino'},{tmp_path / 'second'}"
    words = ["try", folder, "--base", random_base / "base", "--text-encoder", random_base / "clip", "--methods", "lora"]
    words += ["--replicates", "1", "--prompts", "2", "--unrelated", "2", "--no-points", "-s", "lora.steps=2"]
    words += ["--image-encoder", second_encoders, "--out", tmp_path / "out"]
    assert call(monkeypatch, *words) == 0
    assert "another image encoder, second, " in capsys.readouterr().out
    [encoder] = Verdict.from_json((tmp_path / "out" / "verdict.json").read_text()).second_encoders
    assert encoder.name == "second"
    first, second = (read_scores(tmp_path / "out" / name) for name in ("scores.jsonl", "scores-encoder-2.jsonl"))
    likeness = {one.picture: one.value for one in first if one.metric == "subject_fidelity"}
    others = {one.picture: one.value for one in second if one.metric == "subject_fidelity"}
    assert likeness.keys() == others.keys() and likeness != others
    told = tomllib.loads((tmp_path / "out" / "study.toml").read_text())
    assert told["encoders"]["image"] == second_encoders.split(",")
    assert second_encoders in told["study"]["command"]
    written = (tmp_path / "out" / "scores-encoder-2.jsonl").stat().st_mtime_ns
    assert call(monkeypatch, *words) == 0
    assert (tmp_path / "out" / "scores-encoder-2.jsonl").stat().st_mtime_ns == written, "measured once"


@pytest.mark.slow
def test_the_network_alone_is_part_of_the_shipped_encoder() -> None:
    shipped, plain = EfficientNetLite0.open("", "cpu"), open_encoder("efficientnet-lite0-plain", "image")
    assert shipped.digest != plain.digest
    random = np.random.default_rng(0)
    pictures = [Image.fromarray(random.integers(0, 256, (64, 64, 3), np.uint8)) for _ in range(2)]
    depths = shipped.channels(pictures)[:, :1744].split([16, 24, 40, 80, 112, 192, 1280], dim=1)
    expected = torch.cat([depth / depth.norm(dim=1, keepdim=True) for depth in depths], dim=1) / 7**0.5
    assert torch.allclose(plain.images(pictures), expected, atol=1e-5)
