"""Combinations as rows: named, called, drawn with all their parts, paid for by their sum, and never called a method."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path

import pytest
from PIL import Image

from tests.worlds import WORD, call, settings, typed
from triptych.data.concept import Concept
from triptych.errors import TriptychError
from triptych.scores import Cost
from triptych.study.combinations import combinations_of
from triptych.study.together import Together, cost_together, failures_together, together
from triptych.study.training import Run
from triptych.verdict.words import inside, title

ALL = "textual-inversion+hypernetwork+lora"


def run(method: str, replicate: int = 0, **given: object) -> Run:
    return Run(method, replicate, 0, settings(method, **given), (0,), (1,), Path(method))


def test_names() -> None:
    assert combinations_of("word+lora, all,lora+textual-inversion") == ("textual-inversion+lora", ALL)
    assert combinations_of("lora+dreambooth") == ("lora+dreambooth",)
    pairs = {"hypernetwork+lora", "textual-inversion+lora", "textual-inversion+hypernetwork"}
    assert set(combinations_of("leave-one-out,all")) == {ALL, *pairs}
    for text, why in (
        ("leave-two-out", "did you mean 'leave-one-out'"),
        ("word+lorra", "did you mean 'lora'"),
        ("lora", "two or more"),
        ("lora+lora", "two or more"),
    ):
        with pytest.raises(TriptychError, match=why):
            combinations_of(text)
    assert title(ALL) == "Textual inversion + hypernetwork + LoRA"
    assert inside(ALL) == "textual inversion + hypernetwork + LoRA"


@pytest.mark.parametrize(
    ("parts", "phrase"),
    [
        ((run("lora"), run("hypernetwork")), "dog"),
        ((run("lora"), run("textual-inversion")), WORD),
        ((run("dreambooth", identifier="sks"), run("lora")), "sks dog"),
        ((run("dreambooth", identifier="sks"), run("lora", identifier="sks")), "sks dog"),
        ((run("dreambooth", identifier="sks"), run("textual-inversion")), f"sks {WORD}"),
        ((run("dreambooth", identifier="a b"), run("lora", identifier="a b")), "a b dog"),
    ],
)
def test_what_it_is_called_by(folder: Path, parts: tuple[Run, ...], phrase: str) -> None:
    for order in (parts, parts[::-1]):
        assert Together("x", 0, order).phrase(Concept.open(folder, class_word="dog")) == phrase


def test_a_part_that_failed_takes_the_combination_along() -> None:
    trained = [run("lora"), run("lora", 1), run("textual-inversion", 1), run("hypernetwork", 1)]
    found = together(["textual-inversion+lora", ALL], trained)
    assert [(one.method, one.replicate) for one in found] == [("textual-inversion+lora", 1), (ALL, 1)]
    told = failures_together([ALL, "dreambooth+lora"], {"lora": "its loss was lost"})
    assert told[ALL] == "its part lora has no result: its loss was lost"


def test_what_it_costs() -> None:
    costs = [
        Cost("lora", True, 10, 100, 5, 20, 2.0, 7, 9.0, ("hypernetwork",), 4),
        Cost("dreambooth", False, 20, 200, 6, 24, 3.0, 9, 9.0, (), 4),
    ]
    both = cost_together("lora+dreambooth", costs)
    assert both == Cost("lora+dreambooth", False, 30, 300, 11, 44, 5.0, 9, None, (), 8)
    assert cost_together(ALL, costs) is None


@pytest.mark.study
def test_a_study_draws_it_with_all_its_parts(
    folder: Path, random_base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    words = typed(random_base, "try", folder, "--budget", "quick", "--precision", "fp32", "--out", tmp_path / "out")
    words += ["--methods", "lora,textual-inversion", "--replicates", "2", "-s", "lora.steps=2"]
    assert call(monkeypatch, *words, "--together", "word+hypernetwork") == 2
    assert "needs hypernetwork, which is not studied; add it to --methods" in capsys.readouterr().err
    assert call(monkeypatch, *words, "--together", "lora+word") == 0
    verdict = json.loads((tmp_path / "out" / "verdict.json").read_text())
    name = "textual-inversion+lora"
    assert set(verdict["methods"]) == {"lora", "textual-inversion", name}
    assert verdict["replicates"] == 2
    costs = verdict["costs"]
    for what in ("file_bytes", "pictures_seen", "seconds_alone"):
        assert costs[name][what] == costs["lora"][what] + costs["textual-inversion"][what]
    sheets = sorted((tmp_path / "out" / "sheets").glob(f"{name}-*-concept-*"))
    assert len(sheets) == 2
    recipe = json.loads(Image.open(sheets[1] / "00000.png").text["triptych"])
    trials = [path.name for path in (tmp_path / "out" / "trials").iterdir()]
    used = [use["file"]["name"] for use in recipe["uses"]]
    assert {use.rsplit("-", 2)[0] for use in used} == {"lora", "textual-inversion"}
    assert all(use in trials and use.rsplit("-", 2)[1] == "1" for use in used)
    assert WORD in recipe["prompt"]
    told = tomllib.loads((tmp_path / "out" / "study.toml").read_text())
    assert (told["study"]["replicates"], told["study"]["together"]) == (2, [name])
    assert told["effort"]["lora"] == {"steps": 2, "batch": 2, "pictures_seen": 4, "tuning_trials": 0}
    assert f"--replicates 2 --together {name}" in told["study"]["command"]
