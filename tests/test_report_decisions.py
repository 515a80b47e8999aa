"""What the report says of criteria and pairs: decisions, warnings, trades, what was held out; and `triptych report`."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.plain import call
from tests.test_report import FIDELITY, PROMPTS, SEEDS, UNRELATED, write_sheet, write_study
from triptych.report import build, plots
from triptych.report.reading import read
from triptych.report.trade import trades
from triptych.report.view import view
from triptych.scores import BASE, read_scores, write_scores
from triptych.verdict import judge
from triptych.verdict.intervals import Interval

LORA = "lora"


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study in which LoRA copies, leaks, and looked at a fixed batch while it trained."""
    folder = write_study(tmp_path_factory.mktemp("study"), prompts=PROMPTS)
    own = [s for s in read_scores(folder / "scores.jsonl") if s.metric == "subject_fidelity"]
    random = np.random.default_rng(0)
    asked = [(prompt, seed) for prompt in PROMPTS[:2] for seed in SEEDS]
    drawn = dict(zip(asked, write_sheet(folder, LORA, "class", PROMPTS[:2], 0.5, 64), strict=True))
    leaks = [
        replace(s, metric="leakage", value=0.61, picture=drawn[s.prompt, s.seed] if s.picture else None)
        if s.method == LORA
        else replace(s, metric="leakage", value=0.41)
        for s in own
        if (s.prompt, s.seed) in drawn
    ]
    copies = [replace(s, metric="copying", value=float(s.method == LORA)) for s in own]
    noisy = [replace(s, value=s.value + random.normal(0, 0.01)) for s in leaks]
    ready = read_scores(folder / "scores.jsonl") + noisy + copies
    write_scores(folder / "scores.jsonl", ready)
    costs = list(read(folder).verdict.costs.values())
    (folder / "verdict.json").write_text(judge(ready, costs).to_json())
    for path in folder.glob("trials/*/trial.json"):
        told = json.loads(path.read_text())
        path.write_text(json.dumps({**told, "pictures": [f"{i:02}.png" for i in range(1, 7)]}))
    log = folder / "trials" / "lora-0" / "log.jsonl"
    fixed = [{"step": step, "fixed_loss": 0.2 - step / 2000} for step in range(0, 201, 20)]
    log.write_text(log.read_text() + "".join(json.dumps(one) + "\n" for one in fixed))
    build(folder)
    return folder


@pytest.fixture(scope="module")
def page(study: Path) -> str:
    return (study / "report.html").read_text(encoding="utf-8")


def test_every_pair_has_a_decision_and_the_open_ones_their_price(study: Path, page: str) -> None:
    differences = read(study).verdict.differences
    assert len(re.findall(r'<td class="decision', page)) == len(differences)
    for decision, words in (("better", "better than"), ("worse", "worse than"), ("undecided", "undecided against")):
        assert page.count(f">{words}</td>") == sum(one.decision == decision for one in differences) > 0
    assert "more on this machine" in page


def test_what_to_beware_of_is_said_up_front(page: str) -> None:
    assert page.index("Copies: ") < page.index("Side by side")
    assert page.count("Copies: ") == 1


def test_held_out_pictures_are_marked(page: str) -> None:
    assert re.findall(r'alt="(Your picture \d+, held out of training)"', page) == [
        "Your picture 7, held out of training",
        "Your picture 8, held out of training",
    ]
    assert page.count('class="shot yours kept"') == 2


@pytest.mark.slow
def test_the_class_word_alone_has_its_grid_beside_the_bare_base(study: Path) -> None:
    grid = view(read(study), study).class_word
    assert [row.method for row in grid.rows] == [BASE, LORA]
    assert grid.prompts == tuple(PROMPTS[:2])


def test_each_need_is_weighed(study: Path, page: str) -> None:
    found = trades(read(study).verdict, list(FIDELITY))
    assert [one.name for one in found] == [
        "both and preservation", "likeness and prompt", "both and file size", "both and training time"
    ]  # fmt: skip
    by_file = found[2]
    assert {"lora", "aesthetic-gradients"} <= set(by_file.front)  # most faithful, smallest
    assert "hypernetwork" not in by_file.front  # less faithful and larger than LoRA
    assert "1 MB" in str(by_file.plot)
    assert '<polyline class="fixed"' in page


@pytest.mark.slow
def test_nothing_new_needs_another_study(tmp_path: Path) -> None:
    """An older folder without class sheets, flags or fixed losses makes no empty sections."""
    page = build(write_study(tmp_path, prompts=PROMPTS[:1])).read_text()
    assert "The class word alone" not in page
    assert "Good to know" not in page
    assert "fixed batch" not in page
    assert 'class="legend"' not in page
    assert "also judge it" not in page
    assert UNRELATED[0] in page


@pytest.mark.slow
def test_the_command_writes_it_again_without_torch(study: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = (study / "report.html").read_text()
    (study / "report.html").unlink()
    code = f"import sys; sys.argv = ['triptych', 'report', {str(study)!r}]\nfrom triptych.cli import main\n"
    code += "try: main()\nfinally: print('torch' in sys.modules)"
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert told == [str(study / "report.html"), "False"]
    assert (study / "report.html").read_text() == before


def test_a_folder_that_is_no_study_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(monkeypatch, "report", tmp_path) == 2
    told = capsys.readouterr().err.strip()
    assert "holds no verdict.json; give the --out folder of a finished" in told
    assert len(told.splitlines()) == 1
    (tmp_path / "verdict.json").write_text('{"schema": 1}')
    assert call(monkeypatch, "report", tmp_path) == 2
    assert "judge the study again" in capsys.readouterr().err


def test_a_difference_is_drawn_on_its_margin() -> None:
    scale = plots.Scale(-1, 1, 0, 160)
    drawn = plots.difference(Interval(0.5, 0.25, 0.75, 9), scale, 0.1)
    assert 'x="72.0"' in drawn and 'width="16.0"' in drawn  # the band
    assert 'd="M100.0,9H140.0"' in drawn  # the interval
    assert "band" not in plots.difference(Interval(0.5, 0.25, 0.75, 9), scale, None)
