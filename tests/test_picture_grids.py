"""Grids of pictures: what varies, cells that fail, the sheet and the page."""

from __future__ import annotations

import json
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.worlds import call, learned, trial, typed
from triptych.app.again import read_again
from triptych.app.asked import SampleRequest
from triptych.app.axes import Axis, axes_of
from triptych.app.compare import GridResult, cells_of, compare
from triptych.app.sample import generate
from triptych.base import Base, Place
from triptych.data.prompts import Line
from triptych.errors import TriptychError
from triptych.exchange.saving import save
from triptych.study.progress import Silent


def made(base: Base, out: Path, *vary: str, prompt: str = "a dog", **given: Any) -> GridResult:
    @contextmanager
    def lent(place: Place) -> Any:
        if place.source == "nowhere":
            raise TriptychError("there is no base 'nowhere'")
        yield base

    request = SampleRequest([Line(prompt)], changes={"steps": 4}, **given)
    return compare(axes_of(vary), request, Place(), out, Silent(), lent)


def pixels(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path).convert("RGB"))


@pytest.mark.slow
def test_cells_are_the_pictures_that_generate_makes(base: Base, tmp_path: Path) -> None:
    result = made(base, tmp_path, "seed=1,2", "prompt=dog,cat", "cfg=2,6", prompt="a dog")
    assert [path.name for path in result.pictures] == [f"{i:05}.png" for i in range(8)]
    assert not result.failures
    for i, (cfg, word, seed) in enumerate((c, w, s) for c in (2, 6) for w in ("dog", "cat") for s in (1, 2)):
        (alone,) = generate(base, f"a {word}", (seed,), guidance=float(cfg), steps=4)
        assert np.abs(pixels(result.pictures[i]).astype(int) - np.asarray(alone).astype(int)).max() <= 1
        line = read_again(result.pictures[i]).line
        assert (line.prompt, line.seed, line.guidance, line.steps) == (f"a {word}", seed, cfg, 4)
    page = result.page.read_text()
    assert page.count("data:image/webp") == 8
    assert "cfg 2" in page
    assert Image.open(result.sheet).size[0] > 2 * 128


@pytest.mark.slow
def test_strengths_of_files_vary_and_none_is_the_base(base: Base, tmp_path: Path) -> None:
    file = tmp_path / "one.safetensors"
    save(learned(base, trial("lora")), file)
    result = made(base, tmp_path / "grid", f"use=none,{file}:0,{file}:1")
    plain, off, on = map(pixels, result.pictures)
    assert np.array_equal(plain, off)
    assert not np.array_equal(plain, on)
    assert "one:1" in result.page.read_text()


def test_a_folder_of_files_is_their_values_in_order(tmp_path: Path) -> None:
    for step in (100, 20, 3):
        (tmp_path / f"cat-{step}.safetensors").touch()
    assert [Path(value).stem for value in Axis.of(f"use={tmp_path}").values] == ["cat-3", "cat-20", "cat-100"]


def test_a_cell_that_fails_says_why(base: Base, tmp_path: Path) -> None:
    result = made(base, tmp_path, "sampler=euler,eular", "seed=1,2")
    assert len(result.pictures) == 2
    assert [labels for labels, _ in result.failures] == [("sampler eular", "seed 1"), ("sampler eular", "seed 2")]
    assert "did you mean" in result.failures[0][1]
    assert "did you mean" in result.page.read_text()
    elsewhere = made(base, tmp_path / "bases", "base=demo,nowhere")
    assert [labels for labels, _ in elsewhere.failures] == [("nowhere",)]
    with pytest.raises(TriptychError, match="no cell of the grid"):
        made(base, tmp_path / "none", "sampler=eular,eulas")


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("seed=0-3", "0 1 2 3"), ("cfg=2-8 [3]", "2 5 8"), ("steps=10-30 (+10)", "10 20 30"),
        ("hires_denoise=0.2-0.4(0.1)", "0.2 0.3 0.4"), ('freeu="1,1,1,1","2,2,1,1"', "1,1,1,1 2,2,1,1"),
        ("only-masked=true,false", "true false"),
    ],
)  # fmt: skip
def test_values_are_lists_and_ranges(text: str, values: str) -> None:
    assert Axis.of(text).values == tuple(values.split())


@pytest.mark.parametrize(
    ("vary", "why"),
    [
        (["sed=1"], "did you mean 'seed'"), (["seed"], "NAME=VALUE"), (["seed=a"], "whole number"),
        (["seed=1", "seed=2"], "varies twice"), (["seed=1,1"], "a value twice"), ([], "not 0"),
        (["seed=1", "cfg=1", "steps=1", "width=64"], "not 4"), (["cfg=1-9 (0)"], "no range"),
        (["seed=0-99999"], "values"),
        (["prompt=horse,cat"], "not in 'a dog'"), (["denoise=0.1,0.2"], "picture to begin with"),
        (["cfg-rescale=2"], "from 0 to 1"),
    ],
)  # fmt: skip
def test_bad_axes_are_refused(vary: list[str], why: str) -> None:
    with pytest.raises(TriptychError, match=why):
        cells_of(axes_of(vary), SampleRequest([Line("a dog")]), Place())


def test_the_command_makes_a_grid(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path, random_base: Path
) -> None:
    words = ["grid", "a dog", "--vary", "seed=1,2", "--vary", "sampler=euler,eular", "--steps", "3", "--json"]
    assert call(monkeypatch, *typed(random_base, *words, "--out", tmp_path / "grid")) == 0
    said = json.loads(capsys.readouterr().out)
    assert len(said["pictures"]) == 2
    assert said["failures"][1]["cell"] == ["seed 2", "sampler eular"]
    assert all(Path(said[name]).is_file() for name in ("sheet", "page"))
    assert call(monkeypatch, *typed(random_base, "grid", "a dog", "--vary", "sed=1", "--out", tmp_path / "x")) == 2
    assert "did you mean 'seed'" in capsys.readouterr().err
