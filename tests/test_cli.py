"""Bad input: one sentence on stderr, exit code 2, nothing lost. And what train and generate write."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from tests.worlds import call, typed
from triptych import __version__
from triptych.cli.pictures import _also_a_file
from triptych.exchange.formats import open_artifact


def refused(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], why: str, *words: str | Path) -> None:
    assert call(monkeypatch, *words) == 2
    told = capsys.readouterr().err.strip()
    assert why in told
    assert len(told.splitlines()) == 1, told


@pytest.mark.slow
def test_bad_words(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    folder: Path,
    random_base: Path,
) -> None:
    out = ("--out", tmp_path / "out")
    base = ("--base", random_base / "base")
    for why, words in {
        "--base": ("try", folder, "--bse", "demo"),
        "did you mean 'lora'": ("try", folder, "--methods", "lorra", *out),
        "no budget 'short'": ("try", folder, "--budget", "short", *base, *out),
        "no need 'beauty'": ("try", folder, "--need", "beauty", *out),
        "METHOD.KEY=VALUE": ("try", folder, "-s", "rank=3", *out),
        "no setting 'rnak'": ("try", folder, "-s", "lora.rnak=3", *base, *out),
        "no base": ("try", folder, "--base", "dmo", *out),
        "no device": ("try", folder, *base, "--device", "tpu9", *out),
        "no precision": ("try", folder, *base, "--precision", "fp8", *out),
        "multiples of 4": ("try", folder, *base, "--resolution", "17", *out),
        "did you mean 'dreambooth'": ("train", "dreamboth", folder, "--out", tmp_path / "a.safetensors"),
        "must end in .safetensors": ("train", "lora", folder, "--out", tmp_path / "a.pt"),
        "must be a whole number": ("train", "lora", folder, "-s", "rank=x", "--out", tmp_path / "a.safetensors"),
        "; a setting is given as -s lora_plus=VALUE": ("train", "lora", folder, "--lora-plus", "4", *out),
        "KEY=VALUE": ("train", "lora", folder, "-s", "rank", "--out", tmp_path / "a.safetensors"),
        "give one of a prompt, --prompts": ("generate", *out),
        "there is no file": ("generate", "a dog", "--use", "nothing.safetensors", *out),
        "none.txt; check the path": ("generate", "--prompts", tmp_path / "none.txt", *out),
        "no sampler": ("generate", "a dog", "--sampler", "eular", *base, *out),
        "is not a base": ("generate", "a dog", "--base", folder, *out),
    }.items():
        refused(monkeypatch, capsys, why, *words)
    assert not (tmp_path / "out").exists() or not list((tmp_path / "out").glob("*.safetensors"))


def test_bad_folders(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path, random_base: Path
) -> None:
    (tmp_path / "empty").mkdir()
    one = tmp_path / "one-dog"
    one.mkdir()
    Image.new("RGB", (8, 8)).save(one / "a.png")
    text = tmp_path / "text-dog"
    text.mkdir()
    for i in range(4):
        (text / f"{i}.png").write_text("not a picture")
    for place in (tmp_path / "missing", tmp_path / "empty", one, text, one / "a.png"):
        assert call(monkeypatch, *typed(random_base, "try", place, "--out", tmp_path / "out")) == 2
        told = capsys.readouterr().err.strip()
        assert len(told.splitlines()) == 1
        assert str(place) in told or place.name in told


def test_places_that_cannot_be_written(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    folder: Path,
    random_base: Path,
) -> None:
    taken = tmp_path / "file"
    taken.write_text("mine")
    assert call(monkeypatch, *typed(random_base, "try", folder, "--out", taken)) == 2
    assert call(monkeypatch, *typed(random_base, "try", folder, "--out", taken / "below")) == 2
    assert call(monkeypatch, *typed(random_base, "generate", "a dog", "--out", taken)) == 2
    assert (
        call(
            monkeypatch, *typed(random_base, "train", "lora", folder, "--steps", "1", "--out", taken / "a.safetensors")
        )
        == 2
    )
    assert "Traceback" not in capsys.readouterr().err
    assert taken.read_text() == "mine"


@pytest.mark.study
def test_a_full_disk_is_a_sentence(tmp_path: Path, folder: Path, random_base: Path) -> None:
    """A limit on the size of files stands for a full disk."""
    words = typed(random_base, "train", "dreambooth", folder, "--steps", "1", "--out", tmp_path / "a.safetensors")
    limited = f"import resource, sys; resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096)); sys.argv[1:] = {words!r}"
    ignored = "import signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN)"
    code = f"{ignored}; {limited}; from triptych.cli import main; main()"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert ended.returncode == 2, ended.stderr
    assert "cannot write" in ended.stderr
    assert "Traceback" not in ended.stderr
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_train_and_generate(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    folder: Path,
    random_base: Path,
) -> None:
    word, lora = tmp_path / "word.safetensors", tmp_path / "lora.safetensors"
    for method, path in (("textual-inversion", word), ("lora", lora)):
        words = typed(random_base, "train", method, folder, "--steps", "3", "-s", "batch=2", "--out", path, "--json")
        assert call(monkeypatch, *words) == 0
        told = json.loads(capsys.readouterr().out)
        assert told["file"] == str(path)
        assert told["says"] == {"textual-inversion": "<concept>", "lora": "dog"}[method]
        assert open_artifact(path).settings.steps == 3
        assert call(monkeypatch, *words) == 2
        assert "exists already" in capsys.readouterr().err
    out = tmp_path / "pictures"
    uses = ("--use", f"{word}:0.5", "--use", lora)
    words = typed(
        random_base, "generate", "a <concept> dog", *uses, "--seed", "5", "-n", "2", "--out", out, "--steps", "3"
    )
    assert call(monkeypatch, *words) == 0
    assert [path.name for path in sorted(out.iterdir())] == ["00000.png", "00001.png"]
    told = json.loads(Image.open(out / "00001.png").text["triptych"])
    assert (told["seed"], told["sampling"]["steps"]) == (6, 3)
    assert [(use["file"]["name"], use["denoiser"]) for use in told["uses"]] == [(word.name, 0.5), (lora.name, 1.0)]
    assert "Seed: 6" in Image.open(out / "00001.png").text["parameters"]
    first = (out / "00000.png").read_bytes()
    assert call(monkeypatch, *words) == 0
    assert (out / "00002.png").read_bytes() == first, "the same command draws the same picture, beside the old one"
    (tmp_path / "prompts.txt").write_text("a dog\n\na cat\n")
    words = typed(random_base, "generate", "--prompts", tmp_path / "prompts.txt", "--out", tmp_path / "two", "--json")
    capsys.readouterr()
    assert call(monkeypatch, *words) == 0
    assert len(json.loads(capsys.readouterr().out)) == 2


def test_methods_and_version(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert call(monkeypatch, "methods", "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert {"textual-inversion", "hypernetwork", "lora", "dreambooth", "aesthetic-gradients"} <= told.keys()
    assert all(one["explanation"] for method in told.values() for one in method["settings"])
    assert call(monkeypatch, "methods") == 0
    assert "rank" in capsys.readouterr().out
    assert call(monkeypatch, "--version") == 0
    assert capsys.readouterr().out.strip() == __version__


def test_a_sweep_shows_a_row_for_each_job(capsys: pytest.CaptureFixture[str]) -> None:
    from rich.console import Console

    from triptych.cli.board import MOST, Board

    board = Board()
    for i in range(MOST + 3):
        board.row(f"lora_rank={i}", "waits", 0, 50)
    board.row("lora_rank=26", "trains", 7, 50, 0.1234)
    board.row("lora_rank=1", "its loss stopped being a number", 3, 50)
    shown = Console(width=100)
    with shown.capture() as captured:
        shown.print(board._shown())
    lines = captured.get().splitlines()
    assert lines[1].split() == ["lora_rank=26", "trains", "7", "of", "50", "0.1234"]
    assert f"and {3} more" in captured.get()
    assert capsys.readouterr().err == "lora_rank=1: its loss stopped being a number\n"


def test_a_prompt_that_is_a_file_too_is_said(tmp_path: Path) -> None:
    (tmp_path / "prompts.txt").write_text("a dog")
    assert "--prompts" in _also_a_file(str(tmp_path / "prompts.txt"))[0]
    assert not _also_a_file("a dog") and not _also_a_file("a dog " * 1000)
