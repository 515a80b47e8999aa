"""The report's losses over training, the effort of each method, and moments that held-out pictures chose."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest

from tests.test_report import FIDELITY, PROMPTS, write_study
from triptych.report import build
from triptych.report.curves import CHOSEN, chosen, curves
from triptych.report.reading import read

FIXED = {0: 0.31, 50: 0.22, 100: 0.14, 150: 0.15, 200: 0.16}  # steps done, loss on the fixed batch
PAIR = "lora+textual-inversion"


def log(folder: Path, steps: int = 200) -> None:
    """As `triptych try` writes it: a line a step, no loss at step 0, a fixed-batch loss at some."""
    lines = [
        {"step": step, **({"loss": 0.1 + step % 7 / 50} if step else {}),
         **({"fixed_loss": FIXED[step]} if step in FIXED else {})}
        for step in range(steps + 1)
    ]  # fmt: skip
    (folder / "log.jsonl").write_text("\n".join(map(json.dumps, lines)))


def tell(folder: Path, kept_step: int, **settings: object) -> None:
    path = folder / "trial.json"
    told = json.loads(path.read_text())
    path.write_text(json.dumps({**told, "kept_step": kept_step, "settings": {**told["settings"], **settings}}))


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """LoRA and textual inversion looked at a fixed batch; LoRA kept its best moment, the hypernetwork stopped early."""
    folder = write_study(tmp_path_factory.mktemp("study"), prompts=PROMPTS[:1])
    trials = folder / "trials"
    for method in ("lora", "textual-inversion"):
        for run in range(3):
            log(trials / f"{method}-{run}")
            tell(trials / f"{method}-{run}", 200, keep="last", patience=0)
    tell(trials / "lora-0", 150, keep="best", patience=0)
    tell(trials / "lora-1", 100, keep="best", patience=0)
    tell(trials / "hypernetwork-2", 200, keep="last", patience=3)
    verdict = json.loads((folder / "verdict.json").read_text())
    verdict["costs"]["lora"]["tuning_trials"] = 1234
    (folder / "verdict.json").write_text(json.dumps(verdict))
    build(folder)
    return folder


@pytest.fixture(scope="module")
def page(study: Path) -> str:
    return (study / "report.html").read_text(encoding="utf-8")


def test_both_losses_are_read_from_one_log(study: Path) -> None:
    trial = next(one for one in read(study).trials if one.method == "lora")
    assert [step for step, _ in trial.losses] == list(range(1, 201))
    assert trial.fixed == tuple(FIXED.items())


def test_each_run_has_a_line_of_both_kinds_and_a_legend(study: Path, page: str) -> None:
    plot = next(one.plot for one in curves(read(study), list(FIDELITY)) if one.method == "lora")
    lines = re.findall(r'<polyline class="fixed" points="([^"]+)"', plot)
    assert len(lines) == plot.count('<polyline class="curve"') == 3
    points = [tuple(map(float, point.split(","))) for point in lines[0].split()]
    across, up = zip(*points, strict=True)
    assert [round((x - across[0]) / (across[-1] - across[0]), 2) for x in across] == [0, 0.25, 0.5, 0.75, 1]
    assert min(up) == up[0] and max(up) == up[2]  # pixels go down: highest at the start, lowest at 100 steps
    legend = re.search(r'<ul class="legend">.*?</ul>', page, re.DOTALL)
    assert legend and {"curve", "fixed"} <= set(re.findall(r'<path class="(\w+)"', legend[0]))
    assert page.count("jumps with the random noise") == 1


def test_screen_readers_are_told_how_far_each_loss_went(study: Path) -> None:
    told = {
        one.method: str(one.plot).split('aria-label="')[1].split('"')[0] for one in curves(read(study), [*FIDELITY])
    }
    assert re.fullmatch(
        r"LoRA over 200 steps; training loss from 0\.\d+ to 0\.\d+; loss on the fixed batch from 0\.31 to 0\.16",
        told["lora"],
    )
    assert "fixed batch" not in told["hypernetwork"]


def test_moments_that_were_chosen_are_said_up_front(study: Path, page: str) -> None:
    assert page.count(CHOSEN) == 1
    assert page.index(CHOSEN) < page.index("Side by side")
    item = page[: page.index(CHOSEN)].rsplit("<li>", 1)[1]
    assert {name for name in ("LoRA", "Hypernetwork", "Textual inversion") if name in item} == {"LoRA", "Hypernetwork"}
    assert "learning rate 0.002, kept: step 100, 150" in page


def test_a_combination_is_as_chosen_as_its_parts(study: Path) -> None:
    reading = read(study)
    assert chosen(reading, ["textual-inversion", PAIR]) == (PAIR,)
    last = [replace(trial, settings=(("keep", "last"), ("patience", "0"))) for trial in reading.trials]
    assert chosen(replace(reading, trials=tuple(last)), [*FIDELITY, PAIR]) == ()


def test_the_declared_effort_is_among_the_costs(page: str) -> None:
    table = page[page.index('id="costs"') :]
    heads = re.findall(r"<th scope=\"col\"[^>]*>([^<]+)</th>", table)
    rows = re.findall(r"<tr><th scope=\"row\">.*?</tr>", table, re.DOTALL)
    row = next(one for one in rows if one.split("</th>")[0].endswith("LoRA"))
    cells = dict(zip(heads, re.findall(r"<td[^>]*>([^<]*)</td>", row), strict=False))
    assert (cells["Pictures seen"], cells["Tuning trials"]) == ("1,600", "1,234")
    assert cells["Time alone"].endswith("s")
