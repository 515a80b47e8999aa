"""The blind vote of a report: its pairs, the file that the page saves, and what is told from it."""

import json
import re
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from typer.testing import CliRunner

from tests.test_report import PROMPTS, write_study
from triptych.cli import app
from triptych.errors import TriptychError
from triptych.report import build, build_with_votes
from triptych.report.ballot import Ballot, ballot
from triptych.report.reading import read
from triptych.report.tally import Share

Votes = dict[str, Any]


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_study(tmp_path_factory.mktemp("study"))


@pytest.fixture(scope="module")
def asked(study: Path) -> Ballot:
    found = ballot(read(study), study)
    assert found
    return found


def votes_of(asked: Ballot, preferred: list[str], who: str = "Ann") -> Votes:
    """The file of a person who takes the row that stands first in `preferred`."""
    pairs = []
    for pair, _, _ in asked.pairs:
        choice = "left" if preferred.index(pair.left) < preferred.index(pair.right) else "right"
        pairs.append(
            {"prompt": pair.prompt, "seed": pair.seed, "left": pair.left, "right": pair.right, "choice": choice}
        )
    when = "2026-11-26T12:00:00Z"
    return {"votes": 1, "study": asked.study, "who": who, "when": when, "before_reading": True, "pairs": pairs}


def saved(path: Path, votes: object) -> Path:
    path.write_text(json.dumps(votes))
    return path


AS_MEASURED = ["lora", "hypernetwork", "textual-inversion", "aesthetic-gradients"]


def test_pairs_are_balanced_with_the_recommended_row_most_often(study: Path, asked: Ballot) -> None:
    pairs = [pair for pair, _, _ in asked.pairs]
    assert len(pairs) == len(set(pairs)) == 20
    counts = Counter(frozenset((pair.left, pair.right)) for pair in pairs)
    pick = read(study).verdict.recommendation.choice.method
    with_pick = [count for two, count in counts.items() if pick in two]
    others = [count for two, count in counts.items() if pick not in two]
    assert (len(with_pick), len(others)) == (3, 3)
    assert max(with_pick) - min(with_pick) <= 1 and max(others) - min(others) <= 1
    assert min(with_pick) > max(others)
    on_the_left = sum(pair.left == pick for pair in pairs)
    assert 0 < on_the_left < sum(with_pick)


def test_a_pair_shows_two_rows_of_the_same_prompt_and_seed(study: Path, asked: Ballot) -> None:
    records = {path.parent.name: json.loads(path.read_text()) for path in study.glob("sheets/*/sheet.json")}
    for pair, *sides in asked.pairs:
        assert pair.left != pair.right
        for row, side in zip((pair.left, pair.right), sides, strict=True):
            folder, name = side.file.split("/")[1:]
            [picture] = [one for one in records[folder]["pictures"] if one["file"] == name]
            assert (records[folder]["method"], records[folder]["role"]) == (row, "concept")
            assert (picture["prompt"], picture["seed"]) == (pair.prompt, pair.seed)


def test_pairs_follow_from_the_seed_of_the_study(study: Path, asked: Ballot, tmp_path: Path) -> None:
    assert ballot(read(study), study) == asked
    other = shutil.copytree(study, tmp_path / "other")
    verdict = json.loads((other / "verdict.json").read_text())
    (other / "verdict.json").write_text(json.dumps(verdict | {"seed": 1}))
    again = ballot(read(other), other)
    assert again and again.pairs != asked.pairs


@pytest.mark.slow
def test_one_method_alone_has_no_vote(tmp_path: Path) -> None:
    study = write_study(tmp_path, prompts=PROMPTS[:1])
    for folder in study.glob("sheets/*-concept-*"):
        if not folder.name.startswith("lora"):
            shutil.rmtree(folder)
    assert ballot(read(study), study) is None
    assert 'id="ballot"' not in build(study).read_text()


@pytest.mark.slow
def test_the_page_marks_the_pictures_and_names_no_row_in_the_dialog(study: Path, asked: Ballot) -> None:
    page = build(study).read_text()
    marked = re.findall(r'data-file="(sheets/[^"]+)"', page)
    assert set(marked) == asked.files and len(marked) == len(asked.files)
    dialog = page[page.index('<dialog id="vote"') : page.index('id="ballot"')]
    assert not re.search("lora|inversion|hypernetwork|gradients", dialog, re.I)


@pytest.mark.slow
def test_who_sees_it_as_measured_agrees_and_is_not_warned_of(study: Path, asked: Ballot, tmp_path: Path) -> None:
    before = (study / "verdict.json").read_bytes()
    seen = build_with_votes(study, [saved(tmp_path / "votes.json", votes_of(asked, AS_MEASURED))]).tally
    assert seen and not seen.warnings
    assert seen.agreements[0].criterion == "both"
    assert seen.agreements[0].share.count > 0.9 * seen.agreements[0].share.of
    assert all(one.share.count in (0, one.share.of) for one in seen.preferences)
    assert (study / "verdict.json").read_bytes() == before
    assert "seen otherwise" not in (study / "report.html").read_text()


@pytest.mark.slow
def test_who_sees_it_otherwise_is_warned_of(study: Path, asked: Ballot, tmp_path: Path) -> None:
    turned = [saved(tmp_path / f"{who}.json", votes_of(asked, AS_MEASURED[::-1], who)) for who in ("Ann", "Ben")]
    seen = build_with_votes(study, turned).tally
    assert seen
    of_pick = 2 * sum(pair.left == "lora" or pair.right == "lora" for pair, _, _ in asked.pairs)
    assert f"lora, which is recommended, was taken in only 0 of {of_pick}" in seen.warnings[0].lower()
    assert "Chance alone hardly does this" in seen.warnings[0]
    assert seen.agreements[0].share.count < 0.1 * seen.agreements[0].share.of
    page = (study / "report.html").read_text()
    assert seen.warnings[0] in page and "seen otherwise" in page and "votes by Ben" in page


@pytest.mark.slow
def test_few_votes_are_not_called_sure(study: Path, asked: Ballot, tmp_path: Path) -> None:
    votes = votes_of(asked, AS_MEASURED[::-1])
    with_pick = [one for one in votes["pairs"] if "lora" in (one["left"], one["right"])]
    for one in votes["pairs"]:
        if one not in with_pick[:3]:
            one["choice"] = None
    seen = build_with_votes(study, [saved(tmp_path / "votes.json", votes)]).tally
    assert seen and seen.warnings
    assert all("may be chance" in sentence for sentence in seen.warnings)


@pytest.mark.slow
def test_who_cannot_tell_is_counted_apart(study: Path, asked: Ballot, tmp_path: Path) -> None:
    votes = votes_of(asked, AS_MEASURED)
    for one in votes["pairs"]:
        one["choice"] = "cannot tell"
    seen = build_with_votes(study, [saved(tmp_path / "votes.json", votes)]).tally
    assert seen and not seen.warnings and not seen.agreements
    assert sum(one.cannot_tell for one in seen.preferences) == 20


@pytest.mark.slow
def test_votes_on_another_study_are_refused(study: Path, asked: Ballot, tmp_path: Path) -> None:
    path = saved(tmp_path / "votes.json", votes_of(asked, AS_MEASURED))
    other = write_study(tmp_path / "other", size=32)
    with pytest.raises(TriptychError, match="another study"):
        build_with_votes(other, [path])
    [folder] = study.glob("sheets/lora-concept-*")
    written = shutil.copytree(study, tmp_path / "written")
    for file in (written / "sheets" / folder.name).glob("*.png"):
        with Image.open(file) as picture:
            picture.save(file, compress_level=1)
    assert build_with_votes(written, [path]).tally, "the same pixels in other bytes are the same pictures"
    changed = shutil.copytree(study, tmp_path / "changed")
    for picture in (changed / "sheets" / folder.name).glob("*.png"):
        shutil.copy(next(folder.glob("*.png")), picture)
    with pytest.raises(TriptychError, match="another study"):
        build_with_votes(changed, [path])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda votes: [], "no file of votes"),
        (lambda votes: {"votes": 1}, "no file of votes"),
        (lambda votes: votes | {"votes": 9}, "format 9"),
        (lambda votes: votes | {"study": "0" * 16}, "another study"),
        (lambda votes: votes | {"pairs": [one | {"choice": None} for one in votes["pairs"]]}, "no vote"),
        (lambda votes: votes | {"pairs": [one | {"choice": "both"} for one in votes["pairs"]]}, "choice 'both'"),
        (lambda votes: votes | {"pairs": [one | {"left": "../x"} for one in votes["pairs"]]}, "another study"),
    ],
)
def test_a_bad_file_is_a_sentence(study: Path, asked: Ballot, tmp_path: Path, change: Any, said: str) -> None:
    path = saved(tmp_path / "votes.json", change(votes_of(asked, AS_MEASURED)))
    with pytest.raises(TriptychError, match=said):
        build_with_votes(study, [path])


@pytest.mark.slow
def test_the_same_votes_twice_are_refused(study: Path, asked: Ballot, tmp_path: Path) -> None:
    path = saved(tmp_path / "votes.json", votes_of(asked, AS_MEASURED))
    with pytest.raises(TriptychError, match="twice"):
        build_with_votes(study, [path, path])


@pytest.mark.slow
def test_a_name_on_the_file_is_text(study: Path, asked: Ballot, tmp_path: Path) -> None:
    path = saved(tmp_path / "votes.json", votes_of(asked, AS_MEASURED, who="<script>alert(1)</script>"))
    build_with_votes(study, [path])
    assert "<script>alert" not in (study / "report.html").read_text()


@pytest.mark.slow
def test_the_command_prints_what_the_votes_say(study: Path, asked: Ballot, tmp_path: Path) -> None:
    path = saved(tmp_path / "votes.json", votes_of(asked, AS_MEASURED[::-1]))
    result = CliRunner().invoke(app, ["report", str(study), "--votes", str(path)])
    assert result.exit_code == 0
    assert result.stdout.startswith(str(study / "report.html"))
    assert "20 votes by Ann" in result.stdout and "beware: By eye, LoRA" in result.stdout


@pytest.mark.parametrize(
    ("count", "of", "low", "high"), [(0, 10, 0.0, 0.2172), (5, 10, 0.2235, 0.7765), (10, 10, 0.7828, 1)]
)
def test_the_interval_is_jeffreys(count: int, of: int, low: float, high: float) -> None:
    """The values are those of Brown, Cai and DasGupta's definition, by the quantiles of the beta distribution."""
    found = Share(count, of).interval
    assert (found.low, found.high) == pytest.approx((low, high), abs=5e-4)


def test_the_sign_test_is_exact() -> None:
    assert Share(0, 5).p == pytest.approx(2 / 32)
    assert Share(1, 6).p == pytest.approx(14 / 64)
    assert Share(3, 6).p == 1


CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")


@pytest.mark.slow
@pytest.mark.skipif(not CHROMIUM, reason="needs a Chromium")
def test_a_person_votes_by_keys_undoes_and_saves(study: Path, asked: Ballot, tmp_path: Path) -> None:
    from playwright.sync_api import sync_playwright

    build(study)
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_page(accept_downloads=True)
        page.goto(f"{(study / 'report.html').as_uri()}#vote")
        dialog = page.locator("#vote")
        for key in ("ArrowLeft", "ArrowRight", "ArrowLeft", "Backspace", "ArrowDown"):
            page.keyboard.press(key)
        assert "4 of 20" in dialog.inner_text()
        assert not re.search("lora|inversion|hypernetwork|gradients", dialog.inner_text(), re.I)
        dialog.get_by_role("button", name="End here").click()
        assert "LoRA" in dialog.inner_text()
        dialog.get_by_label("Your name").fill("Ann")
        with page.expect_download() as download:
            dialog.get_by_role("button", name="Save").click()
        download.value.save_as(tmp_path / "votes.json")
        browser.close()
    read_back = json.loads((tmp_path / "votes.json").read_text())
    assert [one["choice"] for one in read_back["pairs"]] == ["left", "right", "cannot tell", *[None] * 17]
    assert read_back["before_reading"] is True
    seen = build_with_votes(study, [tmp_path / "votes.json"]).tally
    assert seen and seen.voters[0].who == "Ann" and len(seen.voters[0].votes) == 3
