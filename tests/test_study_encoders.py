"""What judges a study: the base's defaults by kind, what cannot be opened, masks, and how a CLIP judges prompts."""

from __future__ import annotations

import tomllib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.plain import call
from triptych.base import tiny_base
from triptych.base.description import Description, Population
from triptych.data.concept import KINDS
from triptych.errors import TriptychError
from triptych.families import FOLDER
from triptych.metrics.encoders.clip_score import ClipScore
from triptych.options import StudyOptions
from triptych.scores import read_scores
from triptych.study.layout import Layout
from triptych.study.plan import Plan
from triptych.study.progress import Silent
from triptych.study.work import Work
from triptych.verdict import Verdict

Opener = Callable[..., Work]


class Notes(Silent):
    def __init__(self) -> None:
        self.said: list[str] = []

    def note(self, sentence: str) -> None:
        self.said.append(sentence)


@pytest.fixture
def work(random_base: Path, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Opener:
    """Opens a study of a base whose default encoders are given."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)

    def opened(usual: Any, pictures: Path = folder, **options: Any) -> Work:
        base = tiny_base()
        base.description = replace(base.description, image_encoder=usual)
        plan = Plan.of(pictures, StudyOptions(**options))
        return Work(plan, base, plan.concept(), Layout(tmp_path / "out"), Notes())

    return opened


def test_the_families_state_encoders_for_every_kind() -> None:
    for family in ("sd1", "sd2", "sdxl"):
        description = Description.of(None, family)
        for kind in KINDS:
            names = description.image_encoders(kind)
            assert len(names) == 2 and len(set(names)) == 2
    assert "CSD" in Description.of(None, "sd1").image_encoders("style")[1]
    told = tomllib.loads((FOLDER / "sd1.toml").read_text())["population"]
    assert told["statements"].keys() == told["words"].keys()


@pytest.mark.slow
def test_defaults_are_those_of_the_kind(work: Opener, random_base: Path) -> None:
    usual = {"subject": ["nowhere"], "style": ["efficientnet-lite0", str(random_base / "dino")], "scene": ["nowhere"]}
    style = work(usual, kind="style")
    assert style.encoders.first.name == "efficientnet-lite0"
    assert [other.name for other in style.encoders.others] == ["dino"]
    assert style.encoders.told["choice"] == "the base's default for a style"


def test_a_default_that_cannot_be_opened_is_left_out_and_said(work: Opener) -> None:
    study = work({kind: ["nobody/here", "efficientnet-lite0"] for kind in KINDS})
    study.open_encoders()
    assert study.encoders.first.name == "efficientnet-lite0" and study.encoders.others == ()
    assert study.encoders.told["image"] == ["efficientnet-lite0"]
    assert study.encoders.told["choice"].endswith("; nobody/here could not be opened")
    assert isinstance(study.progress, Notes)
    assert study.progress.said[0].startswith("nobody/here does not judge, although it would by default: cannot load")
    with pytest.raises(TriptychError, match="cannot load the encoder nobody/here"):
        work({kind: ["nobody/here"] for kind in KINDS}).open_encoders()


def test_what_the_user_names_has_to_open(work: Opener) -> None:
    study = work("efficientnet-lite0", image_encoder="efficientnet-lite0,nobody/here")
    with pytest.raises(TriptychError, match="cannot load the encoder nobody/here"):
        study.open_encoders()
    study.open_encoders(others=False)
    assert isinstance(study.progress, Notes)
    assert study.progress.said[-1] == "only one image encoder judges here: efficientnet-lite0"


@pytest.mark.slow
def test_a_clip_judges_by_rank_or_by_score(work: Opener, random_base: Path) -> None:
    clip = str(random_base / "clip")
    assert work("efficientnet-lite0", text_encoder=clip).evidence([]).text_encoder is not None
    by_score = work("efficientnet-lite0", text_encoder=clip, prompt_judge="score")
    assert isinstance(by_score.evidence([]).scorer, ClipScore)
    assert by_score.evidence([]).text_encoder is None
    assert by_score.encoders.told["text"] == f"CLIPScore by clip ({clip})"
    pixels = work("efficientnet-lite0", prompt_judge="score")
    assert pixels.encoders.prompts is None
    assert isinstance(pixels.progress, Notes) and "prompts are judged by pixels" in pixels.progress.said[0]


@pytest.fixture
def masked(tmp_path: Path) -> Path:
    """Four pictures of a blue square before noise, three with masks of it."""
    place = tmp_path / "my-square"
    place.mkdir()
    random = np.random.default_rng(0)
    for i in range(4):
        picture = Image.fromarray(random.integers(0, 256, (48, 32, 3), np.uint8))
        picture.paste((0, 0, 200), (8, 16, 24, 32))
        picture.save(place / f"{i}.png")
        if i:
            mask = Image.new("L", (64, 96))
            mask.paste(255, (16, 32, 48, 64))
            mask.save(place / f"{i}_mask.png")
    return place


@pytest.mark.slow
def test_likeness_is_that_of_the_subject_where_masks_tell_it(work: Opener, masked: Path) -> None:
    study = work("efficientnet-lite0-plain,efficientnet-lite0", masked)
    study.open_encoders()
    assert isinstance(study.progress, Notes)
    said = "that of the subject, by the masks of 3 of 4 pictures"
    assert study.progress.said == [f"likeness is {said}"]
    assert study.encoders.told["likeness"] == said
    none, mask, *_ = study.encoders.masks or []
    assert none is None and mask is not None
    pixels = np.asarray(mask)
    assert mask.size == (16, 16) and pixels[0].max() == 0 and pixels[8, 8] == 255, "cropped and scaled as the picture"
    assert study.evidence([]).subjects is not None
    assert study.evidence([], study.encoders.others[0]).subjects is None, "it sees no patches"
    before = study.encoders.key[2]
    Image.new("L", (32, 48), 255).save(masked / "1_mask.png")
    assert work("efficientnet-lite0", masked).encoders.key[2] != before
    blind = work("efficientnet-lite0", masked).encoders
    assert blind.by_masks == "that of whole pictures: efficientnet-lite0 reads no masks"


@pytest.mark.slow
def test_masks_say_nothing_of_a_style(work: Opener, masked: Path) -> None:
    assert work("efficientnet-lite0", masked, kind="style").encoders.masks is None


def test_a_statement_may_name_the_value_and_the_thing_alone() -> None:
    with pytest.raises(TriptychError, match=r"the statement 'a \{colour\}' of 'property' has \{colour\} in it"):
        Population({}, {}, {"property": "a {colour}"})


@pytest.mark.study
def test_a_study_by_clip_score(
    random_base: Path, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ["try", folder, "--base", random_base / "base", "--text-encoder", random_base / "clip", "--methods", "lora"]
    words += ["--replicates", "1", "--prompts", "4", "--unrelated", "2", "--no-points", "-s", "lora.steps=2"]
    words += ["--image-encoder", random_base / "dino", "--prompt-judge", "score", "--out", tmp_path / "out"]
    assert call(monkeypatch, *words) == 0
    told = tomllib.loads((tmp_path / "out" / "study.toml").read_text())
    assert told["encoders"]["text"].startswith("CLIPScore by clip")
    assert "--prompt-judge score" in told["study"]["command"]
    page = (tmp_path / "out" / "report.html").read_text()
    assert "Prompts are judged by" in page and "CLIPScore by clip" in page
    assert Verdict.from_json((tmp_path / "out" / "verdict.json").read_text()).methods.keys() == {"lora"}
    assert {score.metric for score in read_scores(tmp_path / "out" / "scores.jsonl")} >= {"subject_fidelity"}
    assert (tmp_path / "out" / "prompt-scores.jsonl").is_file()
