"""A sweep: many jobs to files and one page; resumed, and not stopped by one that fails."""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from tests.test_stopping import ctrl_c
from tests.worlds import call, gap, typed
from triptych.exchange.formats import open_artifact
from triptych.records import TrialRecord
from triptych.report.sweep import Judged, Row, write_page
from triptych.study.processes import threads
from triptych.verdict.intervals import Interval

GRID = (
    "--method",
    "lora",
    "--method",
    "hypernetwork",
    "-s",
    "rank=2,4",
    "-s",
    "lr=1e-3,1e-2",
    "-s",
    "steps=3",
    "-s",
    "batch=1",
)


def swept(random_base: Path, folder: Path, out: Path, *more: str) -> list[str]:
    return typed(random_base, "sweep", folder, *GRID, "--precision", "fp32", "--out", out, *more)


@pytest.mark.study
def test_a_grid_in_one_command(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path, folder: Path, random_base: Path
) -> None:
    out, alone = tmp_path / "out", tmp_path / "alone.safetensors"
    assert call(monkeypatch, *swept(random_base, folder, out, "--json")) == 0
    told = json.loads(capsys.readouterr().out)
    assert sorted(path.name for path in out.glob("*.safetensors")) == [
        "hypernetwork_lr=0.001.safetensors", "hypernetwork_lr=0.01.safetensors",
        "lora_rank=2_lr=0.001.safetensors", "lora_rank=2_lr=0.01.safetensors",
        "lora_rank=4_lr=0.001.safetensors", "lora_rank=4_lr=0.01.safetensors",
    ]  # fmt: skip
    assert len(told["files"]) == 6 and not told["failures"]
    page = Path(told["page"]).read_text()
    assert page.count("<tr>") == 2 + 6
    assert page.count('class="shot s0"') == 2 * (6 + 1), "two prompts with each job, and with the bare base"
    assert "http://" not in page and "https://" not in page
    losses = [float(value) for value in re.findall(r'data-value="([\d.]+)">\d\.\d{4}</td>\s*<td data-value', page)]
    assert losses == sorted(losses) and len(losses) == 6

    words = ("--steps", "3", "-s", "rank=4", "-s", "lr=1e-3", "-s", "batch=1", "--precision", "fp32", "--out", alone)
    assert call(monkeypatch, *typed(random_base, "train", "lora", folder, *words)) == 0
    joint = open_artifact(out / "lora_rank=4_lr=0.001.safetensors")
    assert gap(joint.tensors, open_artifact(alone).tensors) < 1e-5
    assert joint.settings.rank == 4

    before = {path: path.stat().st_mtime_ns for path in out.rglob("*") if path.suffix in (".safetensors", ".png")}
    (out / "lora_rank=2_lr=0.01.safetensors").unlink()
    assert call(monkeypatch, *swept(random_base, folder, out)) == 0
    after = {path: path.stat().st_mtime_ns for path in out.rglob("*") if path.suffix in (".safetensors", ".png")}
    assert {path.name for path in before if before[path] != after[path]} == {"lora_rank=2_lr=0.01.safetensors"}
    assert "trained anew" not in capsys.readouterr().err
    assert call(monkeypatch, *swept(random_base, folder, out, "--hold-out")) == 0
    assert "trained anew: 6 files of other settings or pictures" in " ".join(capsys.readouterr().err.split())


@pytest.mark.study
def test_files_of_a_sweep_are_judged_by_pictures_that_they_did_not_see(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path, folder: Path, random_base: Path
) -> None:
    another = tmp_path / "few-dog"
    shutil.copytree(folder, another, ignore=lambda _, names: [name for name in names if name[0] not in "0123"])
    words = typed(random_base, "sweep", folder, another, "--method", "lora", "-s", "lr=1e-2,1", "-s", "steps=2")
    words += ["--out", str(tmp_path / "out"), "--precision", "fp32", "-s", "batch=1"]
    assert call(monkeypatch, *words, "--prompts", "2") == 2
    assert "--prompts is not used here, since nothing is judged without --judge" in capsys.readouterr().err
    words += ["--judge", "--prompts", "2", "--unrelated", "2", "--text-encoder", str(random_base / "clip")]
    words += ["--image-encoder", str(random_base / "dino")]
    assert call(monkeypatch, *words, "--json") == 0
    told = json.loads(capsys.readouterr().out)
    records = [TrialRecord.read(path.parent) for path in tmp_path.glob("out/jobs/*/trial.json")]
    assert sorted(len(record.pictures) for record in records) == [3, 3, 7, 7], "some of 4 and of 9 are kept back"
    assert len(told["judged"]) == 4 and {job["page"] for job in told["judged"].values()} == {
        f"judged/{folder.name}/report.html", "judged/few-dog/report.html"
    }  # fmt: skip
    page = Path(told["page"]).read_text()
    for job in told["judged"].values():
        assert job["decision"] in ("best", "keep", "discard", "undecided") and f'href="{job["page"]}"' in page
        assert (tmp_path / "out" / job["page"]).is_file()


def test_the_page_has_what_files_are_worth_the_best_first(tmp_path: Path) -> None:
    def row(name: str, value: float | None, decision: str, kept: float) -> Row:
        both = None if value is None else Interval(value, value - 0.1, value + 0.1, 8)
        judged = Judged(both, decision, "Why.", Path("judged/my cat/report.html"))
        return Row(name, "cat", "lora", {}, 0, f"{name}.safetensors", "", (), (), kept, 1, 1, (), judged)

    rows = [
        row("worse", 0.31, "discard", 0.1),
        row("unknown", None, "undecided", 0.05),
        row("better", 0.42, "best", 0.2),
    ]
    page = write_page(rows, {}, tmp_path / "sweep.html").read_text()
    assert re.findall(r"<code>(\w+)\.safetensors", page) == ["better", "worse", "unknown"]
    assert '<td data-value="0.42">0.42, 0.32 to 0.52</td>' in page and '<td data-value="best">best</td>' in page
    assert page.count('href="judged/my%20cat/report.html"') == 1
    bare = [replace(each, judged=None) for each in rows]
    page = write_page(bare, {}, tmp_path / "sweep.html").read_text()
    assert re.findall(r"<code>(\w+)\.safetensors", page) == ["unknown", "worse", "better"], "by the fixed-batch loss"
    assert "both at once" not in page


@pytest.mark.study
def test_a_failing_job_is_a_row(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path, folder: Path, random_base: Path
) -> None:
    out = tmp_path / "out"
    words = typed(random_base, "sweep", folder, "--method", "lora", "-s", "lr=1e-3,1e30", "-s", "steps=3", "--out", out)
    assert call(monkeypatch, *words, "--precision", "fp32") == 0
    told = capsys.readouterr()
    assert "1 of 2 trained" in told.out
    assert "lora_lr=1e_30 failed: its loss stopped being a number" in told.out.replace("1e+30", "1e_30")
    records = [TrialRecord.read(path.parent) for path in out.glob("jobs/*/trial.json")]
    assert sorted(bool(record.failure) for record in records) == [False, True]
    assert "stopped being a number" in (out / "sweep.html").read_text()


@pytest.mark.slow
def test_a_sweep_that_trains_nothing_says_so(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path, folder: Path, random_base: Path
) -> None:
    words = typed(random_base, "sweep", folder, "--method", "lora,layernorm", "-s", "steps=2", "--out", tmp_path)
    assert call(monkeypatch, *words, "--memory", "10") == 2
    told = capsys.readouterr()
    assert "memory: 2 jobs in passes for 10 bytes: 2 of 1" in " ".join(told.err.split())
    assert "0 of 2 trained" in told.out
    assert "layernorm failed: 10 bytes of memory do not hold this training" in told.out
    assert "frozen=fp8" not in told.out, "it saves nothing where those weights are in files"


@pytest.mark.study
def test_a_stopped_sweep_goes_on_by_workers_to_the_same_bits(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path, folder: Path,
    random_base: Path, interruptible: None,
) -> None:  # fmt: skip
    whole, stopped, rows = tmp_path / "whole", tmp_path / "stopped", ("--rows", "2")
    assert call(monkeypatch, *swept(random_base, folder, whole, *rows)) == 0
    from triptych.app import sweep

    with monkeypatch.context() as patch:
        patch.setattr(sweep, "steps_of", lambda progress: ctrl_c(1))
        assert call(monkeypatch, *swept(random_base, folder, stopped, *rows)) == 130
    assert list(stopped.glob("jobs/state-*.pt"))
    with threads(2):
        assert call(monkeypatch, *swept(random_base, folder, stopped, *rows)) == 0
    assert not list(stopped.glob("jobs/state-*.pt"))
    assert "begin again" not in capsys.readouterr().err
    for path in whole.glob("*.safetensors"):
        assert gap(open_artifact(path).tensors, open_artifact(stopped / path.name).tensors) == 0


@pytest.mark.study
def test_another_grid_after_a_stop_says_what_begins_again(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path, folder: Path,
    random_base: Path, interruptible: None,
) -> None:  # fmt: skip
    from triptych.app import sweep

    out = tmp_path / "out"
    with monkeypatch.context() as patch:
        patch.setattr(sweep, "steps_of", lambda progress: ctrl_c(1))
        assert call(monkeypatch, *swept(random_base, folder, out)) == 130
    capsys.readouterr()
    assert call(monkeypatch, *swept(random_base, folder, out, "-s", "clip=2", "--memory", "100GB")) == 0
    said = " ".join(capsys.readouterr().err.split())
    assert "the jobs have changed since the sweep was stopped" in said
    assert "memory: 6 jobs in passes for 100 GB: 1 of 6" in said


@pytest.mark.slow
def test_bad_words(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], folder: Path, tmp_path: Path
) -> None:
    for why, words in {
        "give FOLDERS and --method": ("sweep", folder),
        "and not both": ("sweep", folder, "--jobs", tmp_path / "jobs.toml"),
        "cannot read the jobs": ("sweep", "--jobs", tmp_path / "none.toml"),
        "--seed takes whole numbers": ("sweep", folder, "--method", "lora", "--seed", "x"),
        "did you mean 'rank'": ("sweep", folder, "--method", "lora", "-s", "rnak=3"),
        "no method 'hyper'": ("sweep", folder, "--method", "lora,hyper"),
        "-s rank is given twice": ("sweep", folder, "--method", "lora", "-s", "rank=2", "-s", "rank=4"),
    }.items():
        assert call(monkeypatch, *map(str, words)) == 2
        assert why in capsys.readouterr().err
    for why, lines in {
        "seed must be a whole number from 0 on": 'method = "lora"\nfolder = "cats"\nseed = "x"',
        "method and folder must be texts": 'method = "lora"\nfolder = 3',
        "rank must be a whole number, not 4.7": 'method = "lora"\nfolder = "cats"\nsettings = { rank = [4, 4.7] }',
    }.items():
        (tmp_path / "jobs.toml").write_text(f"[[job]]\n{lines}\n")
        assert call(monkeypatch, "sweep", "--jobs", str(tmp_path / "jobs.toml")) == 2
        assert why in " ".join(capsys.readouterr().err.split())
