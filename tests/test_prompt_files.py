"""Files of prompts, from the trainer's and the web UI's habits to bytes that are no text; `prompts.txt` of a folder."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image

from tests.worlds import call, pictures, typed
from triptych.base import tiny_base
from triptych.data.prompts import Line, read_prompts
from triptych.errors import TriptychError
from triptych.study.plan import Plan

PLAIN = [Line("a dog"), Line("a cat")]


@pytest.mark.parametrize(
    ("data", "lines"),
    [
        (b"a dog\na cat\n", PLAIN),
        (b"\xef\xbb\xbfa dog\r\n\r\n# a comment\r\na cat", PLAIN),
        (b"a dog\ra cat\r", PLAIN),
        ("a dog\na cat".encode("utf-16"), PLAIN),
        ("a caf\u00e9\u2028 dog\n".encode(), [Line("a caf\u00e9\u2028 dog")]),
        (
            b"a dog --n low, worst --w 512 --h 768 --d 7 --l 7.5 --s 28 --ss euler_a",
            [Line("a dog", "low, worst", 7, 28, 7.5, "euler_a", 512, 768)],
        ),
        (
            b'--prompt "a dog, --n" --negative_prompt "it\'s red" --steps 20 --cfg_scale=4 --seed -1',
            [Line("a dog, --n", "it's red", -1, 20, 4.0)],
        ),
        (b"a well--known dog -- a cat", [Line("a well--known dog -- a cat")]),
        (b"a dog --n", [Line("a dog", "")]),
    ],
)
def test_lines_of_a_file(data: bytes, lines: list[Line], tmp_path: Path) -> None:
    (tmp_path / "p.txt").write_bytes(data)
    read = read_prompts(tmp_path / "p.txt")
    assert [Line(**{**vars(line), "where": ""}) for line in read.lines] == lines
    assert read.notes == ()


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("p.toml", '[prompt]\nsample_steps = 9\n[[prompt.subset]]\nprompt = "a dog"\nseed = 3\n'),
        ("p.json", json.dumps([{"prompt": "a dog", "seed": 3, "sample_steps": 9}])),
    ],
)
def test_tables_of_the_trainer(name: str, text: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(text)
    assert read_prompts(tmp_path / name).lines == (Line("a dog", seed=3, steps=9, where=f"prompt 1 of {name}"),)


@pytest.mark.parametrize(
    ("text", "note"),
    [
        ("a dog\na cat --cn x.png", "line 2 of p.txt: the option --cn is not used"),
        ("a dog --ar 16:9", "line 1 of p.txt: the option --ar is not used"),
        ("#1girl\na dog", "p.txt: line 1 begins with # and a letter, and count as comments"),
        ("--steps 4", "line 1 of p.txt has options and no prompt"),
    ],
)
def test_what_is_not_used_is_said(text: str, note: str, tmp_path: Path) -> None:
    (tmp_path / "p.txt").write_text(text)
    assert note.split(" and count")[0] in "\n".join(read_prompts(tmp_path / "p.txt").notes)


@pytest.mark.parametrize(
    ("name", "data", "why"),
    [
        ("p.txt", "a dog\na caf\u00e9".encode("latin-1"), "cannot read .*p.txt as text .*save it as UTF-8"),
        ("p.txt", "a dog".encode("utf-16-le"), "save it as UTF-8"),
        ("p.txt", b"a dog --s many", "line 1 of p.txt: --s takes a whole number, not 'many'"),
        ("p.toml", b"prompt = 1", "kohya's has"),
        ("p.json", b"{]", "no file of prompts"),
        ("missing.txt", None, "there is no file .*missing.txt"),
    ],
)
def test_what_is_no_file_of_prompts(name: str, data: bytes | None, why: str, tmp_path: Path) -> None:
    if data is not None:
        (tmp_path / name).write_bytes(data)
    with pytest.raises(TriptychError, match=why):
        read_prompts(tmp_path / name)


@pytest.mark.slow
def test_options_are_honoured(
    tmp_path: Path, random_base: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "p.txt").write_text("a dog\na cat --n red --d 7 --s 2 --l 1.5 --ss Euler a\na dog --w 20 --h 16\n")
    words = typed(random_base, "generate", "--prompts", tmp_path / "p.txt", "--out", tmp_path / "out", "--steps", "3")
    assert call(monkeypatch, *words) == 0
    told = [json.loads(Image.open(path).text["triptych"]) for path in sorted((tmp_path / "out").glob("*.png"))]
    assert [one["prompt"] for one in told] == ["a dog", "a cat", "a dog"]
    assert [one["seed"] for one in told] == [0, 7, 0]
    assert [one["sampling"]["steps"] for one in told] == [3, 2, 3]
    assert [one["sampling"]["negative"] for one in told] == ["", "red", ""]
    assert (told[1]["sampling"]["guidance"], told[1]["sampling"]["sampler"]) == (1.5, "euler-a")
    said = capsys.readouterr().err
    assert "not used" not in said
    assert [Image.open(tmp_path / "out" / f"0000{i}.png").size for i in range(3)] == [(16, 16), (16, 16), (20, 16)]


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("a dog --s 0", "line 1 of p.txt: pictures take 1 to"),
        ("a dog --l nan", "guidance"),
        ("a dog --d -3", "a seed is"),
        ("a dog --w 99", "line 1 of p.txt: the width of a picture is a multiple of 4 on this base, such as 100"),
    ],
)
def test_options_out_of_range(
    line: str, why: str, tmp_path: Path, random_base: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    (tmp_path / "p.txt").write_text(line)
    assert call(monkeypatch, *typed(random_base, "generate", "--prompts", tmp_path / "p.txt", "--out", tmp_path)) == 2
    assert why in capsys.readouterr().err


@pytest.mark.slow
def test_a_random_seed_is_printed(
    tmp_path: Path, random_base: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    seeds = []
    for name in ("a", "b"):
        words = typed(random_base, "generate", "a dog", "--seed", "-1", "--steps", "1", "--out", tmp_path / name)
        assert call(monkeypatch, *words) == 0
        seeds.append(json.loads(Image.open(tmp_path / name / "00000.png").text["triptych"])["seed"])
        assert f"random seed {seeds[-1]}" in capsys.readouterr().err
    assert seeds[0] != seeds[1]
    assert call(monkeypatch, *typed(random_base, "generate", "a dog", "--seed", "-2", "--out", tmp_path)) == 2


def test_prompts_of_a_folder(tmp_path: Path) -> None:
    place = tmp_path / "some-dog"
    place.mkdir()
    for i, picture in enumerate(pictures(4)):
        picture.save(place / f"{i}.png")
    own = ["# mine", "a {} in the sun", "a house", "a (red:1.2) {} --s 9 --xy 1", *(f"{{}} {i}" for i in range(9))]
    (place / "prompts.txt").write_bytes("\r\n".join(own).encode("utf-8-sig"))
    base, plan = tiny_base(), Plan(place, budget="quick")
    assert plan.own_prompts[:2] == ["a {} in the sun", "a (red:1.2) {}"]
    count = plan.budget_of(base).prompts
    said = "\n".join(plan.unused_prompts(count))
    for sentence in (
        "line 3 of prompts.txt has no {} for the concept, and is left out",
        "line 4 of prompts.txt: the option --xy is not used",
        "line 4 of prompts.txt: steps not used",
        f"the first {count} of 11 prompts in prompts.txt are used: so many has this study",
        "'(red:1.2)' at position 2: read as text",
    ):
        assert sentence in said
    (place / "prompts.txt").write_bytes("ein {} im Café".encode("latin-1"))
    with pytest.raises(TriptychError, match=r"cannot read .*prompts.txt as text .*save it as UTF-8"):
        _ = Plan(place).own_prompts
