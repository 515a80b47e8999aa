"""The page of the first results: what several studies said, counted, and all of them judged as one."""

from __future__ import annotations

import argparse
from pathlib import Path

import pytest

from recipes.first_results import TILE, Found, flips, page, run, sheet
from tests.worlds import call, typed
from triptych.verdict.intervals import Interval
from triptych.verdict.words import title

PAIR = "textual-inversion+lora"
pytestmark = [pytest.mark.study, pytest.mark.xdist_group("first results")]


@pytest.fixture(scope="module")
def found(folder: Path, random_base: Path, tmp_path_factory: pytest.TempPathFactory) -> Found:
    out = tmp_path_factory.mktemp("first")
    with pytest.MonkeyPatch.context() as patch:
        for seed in range(2):
            words = typed(random_base, "try", folder, "--budget", "quick", "--precision", "fp32", "--seed", seed)
            words += ["--methods", "textual-inversion,lora", "--together", "word+lora", "--out", str(out / str(seed))]
            words += ["-s", "lora.steps=2", "-s", "textual-inversion.steps=2"]
            assert call(patch, *words) == 0
    return Found("noise", (out / "0", out / "1"))


def test_studies_are_judged_as_training_seeds_of_one(found: Found) -> None:
    pooled = found.pooled()
    assert pooled.replicates == 2
    assert pooled.anchors.ceiling and pooled.anchors.ceiling.n == 7, "the training pictures count once"
    each = [reading.verdict.methods["lora"]["subject_fidelity"] for reading in found.readings]
    whole: Interval = pooled.methods["lora"]["subject_fidelity"]
    assert whole.n == sum(one.n for one in each)
    assert whole.value == pytest.approx(sum(one.value for one in each) / 2)


def test_the_page_counts_what_was_said(found: Found, tmp_path: Path) -> None:
    place = tmp_path / "page.md"
    (tmp_path / "page").mkdir()
    (tmp_path / "page" / "looked-at.md").write_text("The rows agree with the eye.")
    given = argparse.Namespace(seeds=2, first_seed=2, budget="quick", other_base="", at_once=2, page=place)
    told = page(given, [found])
    assert "## Looked at\n\nThe rows agree with the eye.\n" in told
    rows = [line for line in told.splitlines() if line.startswith("| Is DreamBooth excessive?")]
    assert rows == ["| Is DreamBooth excessive? | cannot tell 2 | 0 of 2 | **cannot tell** |"]
    for name in ("textual-inversion", "lora", PAIR):
        assert f"\n| {title(name)} | " in told
    assert "    python -m recipes.first_results --out OUT --seeds 2 --first-seed 2 --budget quick --at-once 2\n" in told
    assert flips(["yes", "no", "yes", "cannot tell", "yes"]) == "yes 3, no 1, cannot tell 1 | 2 of 5"


def test_the_sheet_has_a_row_for_yours_the_base_and_every_method(found: Found) -> None:
    assert sheet(found.folders[0]).height == 5 * TILE


def test_a_study_that_is_kept_is_not_run_again_and_says_the_same(
    found: Found, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran: list[Path] = []
    monkeypatch.setattr("recipes.first_results.run_all", lambda wanted, at_once: ran.extend(w.folder for w in wanted))
    given = argparse.Namespace(first_seed=0, budget="quick", other_base="", at_once=1)
    run(given, [Found("outline", found.folders)], tmp_path / "kept")
    assert ran == list(found.folders)
    again = Found("outline", (tmp_path / "0", tmp_path / "1"))
    run(given, [again], tmp_path / "kept")
    assert len(ran) == 2
    assert again.pooled() == found.pooled()
    assert str(found.folders[0]) not in (again.folders[0] / "study.toml").read_text()
    assert not again.readings[0].sheets
