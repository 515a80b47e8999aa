"""Whole studies from the command line, on a random base: files, resuming, refusing, failing."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import tomllib
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
from filelock import FileLock
from PIL import Image

from tests.worlds import call, typed
from triptych.exchange.formats import open_artifact
from triptych.files.tensorfile import TensorFile
from triptych.methods import methods
from triptych.scores import BASE, RESEEDED
from triptych.verdict.values import Grade

METHODS = sorted(name for name, method in methods().items() if method.usual)
pytestmark = [pytest.mark.study, pytest.mark.usefixtures("interruptible")]


@pytest.fixture(scope="session")
def study(folder: Path, random_base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("study") / "out"
    words = typed(random_base, "try", folder, "--budget", "standard", "--precision", "bf16", "--out", out)
    subprocess.run([sys.executable, "-m", "triptych", *words], check=True, capture_output=True, timeout=300)
    return out


def test_a_study_writes_what_it_promises(study: Path) -> None:
    assert {path.name for path in study.iterdir()} >= {
        "study.toml", "trials", "sheets", "scores.jsonl", "costs.json", "verdict.json", "report.html", "artifacts",
        "thumbs",
    }  # fmt: skip
    verdict = json.loads((study / "verdict.json").read_text())
    assert set(verdict["methods"]) == set(METHODS)
    for name in METHODS:
        assert set(verdict["methods"][name]) >= {
            "subject_fidelity",
            "prompt_fidelity",
            "diversity",
            "base_preservation",
            "memorisation",
            "vendi",
        }
        for interval in verdict["methods"][name].values():
            assert set(interval) == {"value", "low", "high", "n"}
    questions = ("textual_inversion_is_enough", "dreambooth_is_excessive", "hypernetwork_is_a_middle_ground")
    assert set(verdict["answers"]) == set(questions)
    assert all(answer["answer"] in get_args(Grade) for answer in verdict["answers"].values())
    assert verdict["recommendation"]["reasons"]
    assert set(verdict["costs"]) == set(METHODS)
    costs = verdict["costs"]
    assert all(costs[name]["seconds_alone"] > 0 and costs[name]["file_bytes"] > 0 for name in METHODS)
    assert costs["lora"]["trained_with"] == ["lora"], "the other training, in a pass of eight rows"
    assert costs["dreambooth"]["trained_with"] == []
    told = tomllib.loads((study / "study.toml").read_text())["study"]
    assert (told["class"], told["replicates"], len(told["held_out"])) == ("dog", 2, 2)


def test_what_is_taken_away_opens(study: Path) -> None:
    files = sorted((study / "artifacts").iterdir())
    assert {open_artifact(path).method for path in files} == set(METHODS)
    assert {path.name.partition("-")[2].partition("-")[2] for path in files} == {
        "aesthetic-gradients.pt", "aesthetic-gradients.safetensors", "dreambooth.safetensors", "hypernetwork.pt",
        "hypernetwork.safetensors", "lora.safetensors", "textual-inversion.safetensors",
    }  # fmt: skip
    lora = next(path for path in files if "lora" in path.name)
    assert all(name.startswith("lora_unet_") for name in TensorFile.open(lora).layouts)


def test_no_method_trains_on_what_is_held_out(study: Path, folder: Path) -> None:
    held_out = set(tomllib.loads((study / "study.toml").read_text())["study"]["held_out"])
    everything = {path.name for path in folder.glob("*.png")}
    records = [json.loads(path.read_text()) for path in study.glob("trials/*/trial.json")]
    assert len(records) == 2 * len(METHODS)
    assert all(set(record["pictures"]) == everything - held_out for record in records)


def test_the_fixed_batch_loss_is_logged_beside_the_training_loss(study: Path) -> None:
    logs = [path.with_name("log.jsonl") for path in study.glob("trials/*/trial.json")]
    for path in (path for path in logs if path.parent.name.startswith("lora")):
        lines = [json.loads(line) for line in path.read_text().splitlines()]
        assert [line["step"] for line in lines] == list(range(len(lines)))
        assert [line["step"] for line in lines if "fixed_loss" in line] == [
            0,
            *range(25, len(lines) - 1, 25),
            len(lines) - 1,
        ]
        assert all("loss" in line for line in lines[1:])


def test_every_method_draws_the_same_prompts_and_seeds(study: Path) -> None:
    asked: dict[str, set[tuple[tuple[str, int], ...]]] = {
        "concept": set(), "again": set(), "unrelated": set(), "class": set(),
    }  # fmt: skip
    for path in study.glob("sheets/*/sheet.json"):
        sheet = json.loads(path.read_text())
        if sheet["method"] == RESEEDED or sheet["role"] == "choose":
            continue
        asked[sheet["role"]].add(tuple((one["prompt"], one["seed"]) for one in sheet["pictures"]))
        assert all((path.parent / one["file"]).is_file() for one in sheet["pictures"])
    assert all(len(sets) == 1 for sets in asked.values())
    assert set(*asked["class"]) <= set(*asked["concept"])
    seeds = [seed for sets in asked.values() for _, seed in {*next(iter(sets))} - set(*asked["class"])]
    assert len(seeds) == len(set(seeds))  # no two pictures share their noise


def test_the_class_word_alone_is_drawn_where_it_is_not_what_calls_the_concept(study: Path) -> None:
    scores = [json.loads(line) for line in (study / "scores.jsonl").read_text().splitlines()]
    shown = {
        (metric, name): {s["picture"] for s in scores if (s["metric"], s["method"]) == (metric, name)}
        for metric in ("leakage", "subject_fidelity")
        for name in (*METHODS, BASE)
    }
    alike = {name for name in (*METHODS, BASE) if shown["leakage", name] <= shown["subject_fidelity", name]}
    assert alike == {*METHODS, BASE} - {"textual-inversion", "dreambooth"}
    assert not shown["leakage", "dreambooth"] & shown["subject_fidelity", "dreambooth"]
    flags = json.loads((study / "verdict.json").read_text())["flags"]
    assert {name for name in METHODS if any("no word of its own" in one for one in flags.get(name, ()))} == alike - {
        BASE
    }


def test_a_word_that_is_not_said_changes_nothing(study: Path) -> None:
    """Textual inversion learns a word; asked with the class word it draws what the bare base draws."""
    scores = [json.loads(line) for line in (study / "scores.jsonl").read_text().splitlines()]
    leaks = [s for s in scores if s["metric"] == "leakage"]
    bare = {s["prompt"]: study / s["picture"] for s in leaks if s["method"] == BASE}
    mine = [s for s in leaks if s["method"] == "textual-inversion"]
    assert mine
    for score in mine:
        one, other = (np.asarray(Image.open(path), float) for path in (study / score["picture"], bare[score["prompt"]]))
        assert np.abs(one - other).mean() < 1  # of 255: another batch, in bfloat16


def test_again_it_makes_nothing_anew(
    study: Path, folder: Path, random_base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = {path: path.stat().st_mtime_ns for path in study.rglob("*.safetensors") if "trials" in path.parts}
    before |= {path: path.stat().st_mtime_ns for path in study.glob("sheets/*/*.png")}
    verdict = (study / "verdict.json").read_text()
    words = typed(random_base, "try", folder, "--budget", "standard", "--precision", "bf16", "--out", study)
    assert call(monkeypatch, *words) == 0
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert (study / "verdict.json").read_text() == verdict
    assert call(monkeypatch, *words, "--need", "small") == 0


def test_another_study_in_its_place_is_refused(
    study: Path, folder: Path, random_base: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    words = typed(
        random_base, "try", folder, "--budget", "standard", "--precision", "bf16", "--out", study, "--seed", "7"
    )
    assert call(monkeypatch, *words) == 2
    assert "another seed" in capsys.readouterr().err


def test_two_at_once_are_refused(
    folder: Path, random_base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with FileLock(tmp_path / ".lock"):
        assert call(monkeypatch, *typed(random_base, "try", folder, "--out", tmp_path)) == 2
    assert "another triptych is at work" in capsys.readouterr().err


def test_a_method_that_fails_is_a_row_that_says_why(
    folder: Path, random_base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    words = typed(random_base, "try", folder, "--budget", "quick", "--out", tmp_path / "out", "--precision", "fp32")
    wild = ["-s", "lora.lr=1e30", "-s", "lora.steps=4", "-s", "hypernetwork.widths=999", "--clip", random_base / "dino"]
    assert call(monkeypatch, *words, *wild) == 0
    verdict = json.loads((tmp_path / "out" / "verdict.json").read_text())
    assert set(verdict["failures"]) == {"lora", "hypernetwork", "aesthetic-gradients"}
    assert "stopped being a number" in verdict["failures"]["lora"]
    assert "widths" in verdict["failures"]["hypernetwork"]
    assert set(verdict["methods"]) >= {"textual-inversion", "dreambooth"}
    report = (tmp_path / "out" / "report.html").read_text()
    assert "stopped being a number" in report


@pytest.mark.parametrize("when", ["training", "drawing"])
def test_interrupted_it_ends_with_130_and_goes_on(folder: Path, random_base: Path, tmp_path: Path, when: str) -> None:
    words = typed(random_base, "try", folder, "--budget", "quick", "--precision", "fp32", "--out", tmp_path)
    words += ["--methods", "lora,textual-inversion", "--no-points", "--prompts", "8", "--unrelated", "4"]
    words += ["-s", "lora.steps=150"] if when == "training" else []
    command = [sys.executable, "-m", "triptych", *words]
    env = {**os.environ, "PYTHONUNBUFFERED": "1"}
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=env, start_new_session=True)
    seen = {"training": "trials/state-*.pt", "drawing": "trials/*/trial.json"}[when]
    until = time.monotonic() + 120
    while not list(tmp_path.glob(seen)) and process.poll() is None and time.monotonic() < until:
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does it: to the helper processes too
    _, told = process.communicate(timeout=60)
    assert process.returncode == 130, told
    assert "Traceback" not in told
    again = subprocess.run(command, capture_output=True, text=True, timeout=200)
    assert again.returncode == 0, again.stderr
    assert (tmp_path / "report.html").is_file()
    assert not list(tmp_path.rglob("*.tmp"))


def test_on_itself_as_another_base_everything_carries_over(
    folder: Path, random_base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = typed(random_base, "try", folder, "--budget", "quick", "--precision", "fp32", "--out", tmp_path)
    words += ["--methods", "lora,dreambooth", "--other-base", str(random_base / "base")]
    assert call(monkeypatch, *words) == 0
    scores = [json.loads(line) for line in (tmp_path / "scores.jsonl").read_text().splitlines()]
    there = {(s["method"], s["prompt"], s["seed"]): s["value"] for s in scores if s["metric"] == "portability"}
    here = {(s["method"], s["prompt"], s["seed"]): s["value"] for s in scores if s["metric"] == "subject_fidelity"}
    assert {method for method, _, _ in there} == {BASE, "lora", "dreambooth"}
    assert there == pytest.approx({place: here[place] for place in there}, abs=1e-3)  # other batches
