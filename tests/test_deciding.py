"""A study that goes on until it is decided: its looks, its limits, and what it keeps."""

from __future__ import annotations

import json
import sys
import tomllib
from dataclasses import replace
from pathlib import Path
from shutil import copytree

import pytest

from tests.simulated import COSTS, DB, HN, LORA, TI, simulate
from tests.worlds import call, typed
from triptych.base import Budget
from triptych.base.description import Description, Trainings
from triptych.errors import TriptychError
from triptych.study import Plan
from triptych.study.deciding import Clock, Stage, before, deciding, end, stages
from triptych.study.run import deciding_command
from triptych.verdict import Further, Look, further, judge

BUDGET = Budget(training_seeds=1, steps=1.0, prompts=32, again=4, unrelated=16, cost_steps=3)
PRICED = [replace(cost, seconds_a_picture=0.5) for cost in COSTS]
CLEAR = judge(simulate({TI: 0.2, HN: 0.5, LORA: 0.1, DB: 0.9}, {TI: 1, HN: 0.9, LORA: 0.7, DB: 0.5}), PRICED)
OPEN = judge(
    simulate({TI: 0.6, HN: 0.66, LORA: 0.7, DB: 0.7}, {TI: 1, HN: 1, LORA: 1, DB: 1}, noise=0.12, runs=1), PRICED
)


def test_a_study_looks_once_unless_it_goes_on() -> None:
    assert stages(Plan(Path("x")), BUDGET) == [Stage(32, 16)]
    told = stages(Plan(Path("x"), until_decided=True), BUDGET)
    assert [(one.prompts, one.unrelated) for one in told] == [(32, 16), (64, 32), (128, 64)]
    assert sum(one.alpha for one in told) == pytest.approx(0.05) and told[0].alpha < 0.001
    few = stages(Plan(Path("x"), until_decided=True, at_most_pictures=6), BUDGET)
    assert [(one.prompts, one.unrelated) for one in few] == [(2, 2), (3, 2), (6, 3)]
    assert sum(one.alpha for one in few) == pytest.approx(0.05)


def test_it_ends_when_it_is_decided_or_out_of_time() -> None:
    now, later = Stage(32, 16), Stage(64, 32)
    assert end(CLEAR, now, later, Clock(0, 0)) == "decided after 32 prompts"
    assert end(judge([], []), now, later, Clock(0, 0)) == "more prompts would decide nothing after 32 prompts"
    assert end(OPEN, now, later, Clock(0, 0)) == ""
    told = end(OPEN, now, later, Clock.of(Plan(Path("x"), until_decided=True, at_most_minutes=1.5)))
    assert "64 would take about 2 min more, beyond the 1.5 minutes" in told  # 48 pictures of 5 rows, half a second each
    assert end(OPEN, now, later, Clock.of(Plan(Path("x"), until_decided=True, at_most_minutes=3))) == ""


@pytest.mark.parametrize("given", [{"at_most_pictures": 8}, {"at_most_minutes": 2.0}])
def test_a_limit_is_for_a_study_that_goes_on(given: dict[str, float]) -> None:
    with pytest.raises(TriptychError, match="for a study that goes on"):
        Plan(Path("x"), **given)
    with pytest.raises(TriptychError, match="0 \\(no limit\\) or more"):
        Plan(Path("x"), until_decided=True, **{name: -value for name, value in given.items()})


def test_what_would_decide_it_is_a_command_that_does_just_that() -> None:
    plan = Plan(Path("folder"), budget="quick", prompts=16)
    later = deciding(plan, Further(128, 1, 60.0))
    assert (later.until_decided, later.at_most_pictures, later.replicates, later.prompts) == (True, 128, 0, 16)
    assert deciding(plan, Further(128, 4)).replicates == 4
    more = further(OPEN)
    assert more is not None
    told = deciding_command(plan, OPEN, Path("my out"))
    assert "--until-decided" in told and f"--at-most-pictures {more.prompts}" in told
    assert told.endswith("--out 'my out'")
    assert deciding_command(plan, CLEAR, Path("out")) == ""


def test_earlier_verdicts_have_spent_something_too(tmp_path: Path) -> None:
    path, scores = tmp_path / "verdict.json", simulate({TI: 0.5, DB: 0.8})
    ahead = stages(Plan(Path("x"), until_decided=True), BUDGET)
    assert before(path, ahead) == ()
    path.write_text("{}")
    assert before(path, ahead) == ()
    path.write_text(judge(scores, COSTS, looks=[Look(32, 0.05)]).to_json())
    assert before(path, ahead) == (Look(32, 0.05),)
    path.write_text(judge(scores, COSTS, looks=[ahead[0].look, ahead[1].look]).to_json())
    assert before(path, ahead) == ()  # the same study once more


@pytest.mark.study
def test_a_study_that_grows_keeps_its_pictures_and_trainings(
    folder: Path, random_base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    words = typed(random_base, "try", folder, "--budget", "quick", "--precision", "fp32", "--out", tmp_path)
    words += ["--methods", "lora,textual-inversion", "--unrelated", "4", "-s", "lora.steps=3"]
    words += ["-s", "textual-inversion.steps=3"]
    assert call(monkeypatch, *words, "--prompts", "4") == 0
    kept = {path.read_bytes(): path for path in tmp_path.glob("sheets/*-concept-*/*.png")}
    trained = {path: path.stat().st_mtime_ns for path in tmp_path.glob("trials/*/artifact.safetensors")}
    capsys.readouterr()
    monkeypatch.setattr("triptych.study.deciding.settled", lambda _: False)
    assert call(monkeypatch, *words, "--prompts", "4", "--until-decided", "--at-most-pictures", "8") == 0
    told = capsys.readouterr()
    assert "not decided after 2 prompts: going on to 4" in told.err and "For fidelity: " in told.out
    assert {path: path.stat().st_mtime_ns for path in trained} == trained
    verdict = json.loads((tmp_path / "verdict.json").read_text())
    assert [look["prompts"] for look in verdict["looks"]] == [4, 2, 4, 8]
    assert any("judged at 4, 2, 4 and 8 prompts" in note for note in verdict["notes"])
    largest = [path for path in tmp_path.glob("sheets/lora-0-concept-*") if len(list(path.glob("*.png"))) == 8]
    assert len(largest) == 1
    assert len({path.read_bytes() for path in largest[0].glob("*.png")} & kept.keys()) == 4
    study = tomllib.loads((tmp_path / "study.toml").read_text())["study"]
    assert "--until-decided" in study["command"]
    assert (study["deciding"] in (tmp_path / "report.html").read_text()) if study["deciding"] else True


@pytest.mark.slow
def test_prompts_of_the_folder_that_the_last_look_uses_are_not_called_unused(
    folder: Path, random_base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    own = copytree(folder, tmp_path / "some-dog")
    (own / "prompts.txt").write_text("\n".join(f"a {{}} {i}" for i in range(6)))

    def stop(_: object) -> None:
        raise TriptychError("far enough")

    monkeypatch.setattr(sys.modules["triptych.study.run"], "runs", stop)
    words = typed(random_base, "try", own, "--out", tmp_path / "out", "--prompts", "2", "--until-decided")
    for most, used in ((4, 4), (6, 6)):
        assert call(monkeypatch, *words, "--at-most-pictures", str(most)) == 2
        assert (f"the first {used} of 6 prompts" in capsys.readouterr().err) == (used < 6)


def test_a_base_may_state_how_far_trainings_lie_apart(tmp_path: Path) -> None:
    (tmp_path / "triptych.toml").write_text('like = "sd1"\n[verdict]\nfreedom = 8\nspread = 0.05\n')
    assert Description.of(tmp_path, "sd1").verdict == Trainings(8, 0.05)
    assert Description.of(None, "sd1").verdict == Trainings()
    (tmp_path / "triptych.toml").write_text('like = "sd1"\n[verdict]\nfredom = 8\n')
    with pytest.raises(TriptychError, match="does not describe a base"):
        Description.of(tmp_path, "sd1")
