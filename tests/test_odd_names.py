"""Bytes that are no UTF-8, names as long as they can be, and commands to paste."""

from __future__ import annotations

import os
import shlex
import subprocess
import tomllib
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from tests.worlds import call, pictures, typed
from triptych.base import tiny_base
from triptych.files.atomic import shortened, write_text
from triptych.shell import command_line, writable
from triptych.study.plan import Plan, write

BAD = os.fsdecode(b"caf\xe9")


@pytest.fixture
def odd(tmp_path: Path) -> Path:
    """A folder whose name and pictures' names are not UTF-8."""
    place = tmp_path / f"{BAD}-dog"
    place.mkdir()
    for i, picture in enumerate(pictures(4)):
        picture.save(place / f"{BAD}{i}.png")
    return place


@pytest.mark.parametrize(
    ("words", "option"),
    [
        (("generate", f"a {BAD}"), "prompt"),
        (("generate", "a dog", "--negative", BAD), "--negative"),
        (("generate", "a dog", "--use", f"{BAD}.safetensors"), "--use"),
        (("train", BAD, "x", "--out", "x.safetensors"), "method"),
        (("train", "lora", "x", "--class", BAD, "--out", "x.safetensors"), "--class"),
        (("try", "x", "-s", f"lora.identifier={BAD}"), "--set"),
        (("tune", "x", "--methods", BAD, "--out", "x"), "--methods"),
    ],
)
def test_text_must_be_utf8(
    words: tuple[str, ...], option: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(monkeypatch, *words) == 2
    told = capsys.readouterr().err.strip()
    assert told.startswith(f"triptych: {option} ")
    assert "is not UTF-8" in told
    assert len(told.splitlines()) == 1


@pytest.mark.slow
def test_paths_may_be_any_bytes(
    odd: Path,
    tmp_path: Path,
    random_base: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfdbinary: pytest.CaptureFixture[bytes],
) -> None:
    out = tmp_path / f"{BAD}.safetensors"
    assert call(monkeypatch, *typed(random_base, "train", "lora", odd, "--steps", "1", "--out", out)) == 0
    assert os.fsencode(out) in capfdbinary.readouterr().out
    assert call(monkeypatch, "inspect", out) == 0
    assert call(monkeypatch, *typed(random_base, "generate", "a dog", "--steps", "1", "--out", tmp_path / BAD)) == 0
    assert list((tmp_path / BAD).glob("*.png"))


def test_a_plan_of_odd_names_is_kept_and_known_again(odd: Path, tmp_path: Path) -> None:
    plan, base = Plan(odd, methods=("lora",)), tiny_base()
    for _ in range(2):
        write(plan, tmp_path, base, plan.concept(), {})
    told = tomllib.loads((tmp_path / "study.toml").read_text(encoding="utf-8"))
    assert all(name.isascii() for name in told["study"]["held_out"])
    assert "$'" in told["study"]["command"]


@pytest.mark.parametrize(
    "word",
    [
        "plain",
        "my own cat",
        "it's",
        'say "cat"',
        "$HOME `ls`",
        "a\nb",
        "tab\there",
        BAD,
        "löwe",
        "",
        "\\",
        "!x",
        f"{BAD}4",
    ],
)
def test_commands_reach_the_program_as_they_are(word: str) -> None:
    line = command_line(["printf", "%s", word])
    got = subprocess.run(["bash", "-c", line], capture_output=True, check=True).stdout
    assert got == os.fsencode(word)
    assert "\n" not in line


@pytest.mark.parametrize("name", ["my own's cat", "-cat", 'a "cat"'])
def test_the_command_of_a_study(name: str) -> None:
    words = shlex.split(Plan(Path(name), settings={"lora": {"identifier": "s k s"}}).command)
    assert Path(words[2]) == Path(name)
    assert not words[2].startswith("-")
    assert words[-1] == "lora.identifier=s k s"
    plan = replace(Plan(Path(name)), token="<it's>")
    assert "<it's>" in shlex.split(plan.command)


@pytest.mark.parametrize("letter", ["x", "\u00e9", "\u732b"])
def test_names_as_long_as_they_can_be(letter: str, tmp_path: Path) -> None:
    name = shortened(letter * 300, 255)
    assert 252 < len(os.fsencode(name)) <= 255
    write_text(tmp_path / name, "text")
    assert [path.name for path in tmp_path.iterdir()] == [name]
    Image.new("RGB", (8, 8)).save(tmp_path / f"{shortened(letter * 300, 251)}.png")


def test_what_a_file_can_hold() -> None:
    assert writable("löwe") == "löwe"
    assert writable(BAD) == r"caf\udce9"
