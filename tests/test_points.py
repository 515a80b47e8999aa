"""The strength and the moment at which a method is sampled: kept, tried, chosen, used, and told in the files."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from tests.worlds import call, gap, learned, settings, trial, typed
from triptych.base import Base, Owner
from triptych.exchange.formats import open_artifact
from triptych.exchange.saving import save
from triptych.files.library import sidecar
from triptych.files.tensorfile import TensorFile
from triptych.metrics import Shown
from triptych.patching.patch import Tensors
from triptych.records import PointsRecord
from triptych.scores import BASE
from triptych.study import choosing
from triptych.study.layout import Layout
from triptych.study.plan import Plan
from triptych.study.point import FULL, Point, Use
from triptych.study.points import Row, Seen, Tried, best_of
from triptych.study.progress import Silent
from triptych.study.sheets import sample_small, sheet_of
from triptych.study.together import Together
from triptych.study.training import Run
from triptych.study.work import Work
from triptych.training.fit import Trial, fit
from triptych.training.moments import Moment
from triptych.training.sharing import joint_passes


def run(method: str = "lora", **given: object) -> Run:
    return Run(method, 0, 0, settings(method, **given), (0,), (1,), Path(method))


@pytest.mark.slow
@pytest.mark.parametrize("names", [["dreambooth"], ["lora", "lora"]], ids="+".join)
def test_a_moment_is_what_a_training_of_that_many_steps_learns(base: Base, names: list[str]) -> None:
    kept: dict[tuple[Owner, int], Tensors] = {}
    owners = [str(i) if len(names) > 1 else None for i in range(len(names))]

    def keep(moment: Moment) -> None:
        for job in moment.active if moment.done in (2, 3) else ():
            kept[job.owner, moment.done] = moment.tensors(job.owner)

    def trials(steps: int) -> list[Trial]:
        return [
            trial(name, owner, i, steps=steps, schedule="constant")
            for i, (name, owner) in enumerate(zip(names, owners, strict=True), start=1)
        ]

    whole = fit(base, trials(5))
    for a, b in zip(whole, fit(base, trials(5), watch=keep), strict=True):
        assert gap(a.tensors, b.tensors) == 0
        assert a.losses == b.losses
    for owner, short in zip(owners, fit(base, trials(3)), strict=True):
        assert gap(kept[owner, 3], short.tensors) == 0
        assert gap(kept[owner, 2], short.tensors) > 0
    assert len(kept) == 2 * len(names)


def test_the_highest_mean_is_chosen_and_of_ties_the_strength_nearest_1_and_the_latest_moment() -> None:
    low, high = [0.1, 0.2, 0.1, 0.3], [0.8, 0.7, 0.9, 0.8]
    assert best_of({FULL: low, Point(0.4, 0.5): high}) == Point(0.4, 0.5)
    near = [0.8, 0.7, 0.9, 0.79]
    tied = {Point(0.4): high, Point(0.8, 0.5): near, Point(0.8): near, Point(1.2): near}
    assert best_of(tied) == Point(0.8), "1.2 is as near to 1, and the weaker of the two is taken"
    noisy = [1.0, 0.3, 0.4, 0.7]  # less by 0.2 with a standard error of 0.15, and by 0.3 with one of 0.05
    assert best_of({Point(0.6): high, FULL: [0.5, 0.5, 0.5, 0.5]}) == Point(0.6)
    assert best_of({Point(0.6): [one + 0.1 for one in noisy], FULL: [0.3, 1.0, 0.5, 0.6]}) == FULL


def test_a_method_that_reaches_nothing_is_used_as_it_was_trained() -> None:
    """Its points differ surely, but all are within the margin of the bare base."""
    assert best_of({Point(0.5): [0.08, 0.09, 0.07, 0.08], FULL: [0.0, 0.01, 0.0, 0.0]}) == FULL
    assert best_of({Point(0.5): [0.18, 0.19, 0.17, 0.18], FULL: [0.0, 0.01, 0.0, 0.0]}) == Point(0.5)


def seen(*values: float) -> dict[tuple[str, int], Seen]:
    return {(f"prompt {i}", i): Seen(value, value, 1.0) for i, value in enumerate(values)}


def test_the_better_half_goes_on_and_full_strength_too() -> None:
    points = (Point(0.4), Point(0.6), Point(0.8), FULL)
    tried = Tried(Row("lora", (run(),), points))
    assert tried.going == list(points)
    for point, value in zip(points, (0.5, 0.9, 0.1, 0.2), strict=True):
        tried.seen[point] = seen(value, value)
    assert tried.going == [Point(0.6), Point(0.4), FULL]
    for point in tried.going:
        tried.seen[point] = seen(*[0.9 if point == Point(0.4) else 0.3] * 4)
    tried.seen[Point(0.8)] = seen(1.0, 1.0)  # it did not go on, so it cannot be chosen
    assert tried.chosen == Point(0.4)
    records = {record.strength: record for record in tried.records()}
    assert [strength for strength, record in records.items() if record.chosen] == [0.4]
    assert (records[0.8].pictures, records[0.4].pictures, records[0.4].both) == (2, 4, 0.9)


def test_what_is_attached_at_a_point() -> None:
    lora, word = run("lora", steps=10), run("textual-inversion")
    points = {"lora": Point(0.8, 0.5), "textual-inversion+lora": Point(0.5)}
    [alone] = lora.uses(points)
    assert (alone.path.name, alone.strength) == ("moment-000005.safetensors", 0.8)
    both = Together("textual-inversion+lora", 0, (word, lora)).uses(points)
    assert [(use.path.name, use.strength) for use in both] == [
        ("artifact.safetensors", 0.5), ("moment-000005.safetensors", 0.4),
    ]  # fmt: skip
    assert [use.label for use in lora.uses({})] == ["lora"], "at full strength the key of a sheet is its old one"
    assert [use.label for use in both] == ["textual-inversion@0.5", "lora/moment-000005@0.4"]


@pytest.mark.slow
def test_points_that_share_a_batch_are_sampled_as_alone(base: Base, folder: Path, tmp_path: Path) -> None:

    plan = Plan(folder)
    work = Work(plan, base, plan.concept(), Layout(tmp_path), Silent())
    for name in ("lora", "dreambooth"):
        save(learned(base, trial(name, lr=0.3)), tmp_path / f"{name}.safetensors")

    def sheets(mark: str) -> list[Any]:
        asked = [(f"{mark} dog", "a dog", 3)]
        bare = sheet_of(work, BASE, 0, "choose", asked, ())
        return [bare, *(
            sheet_of(work, name, 0, "choose", asked, (Use(tmp_path / f"{name}.safetensors", name, strength),))
            for name in ("lora", "dreambooth") for strength in (0.5, 1.0)
        )]  # fmt: skip

    def pixels(some: Sequence[Any]) -> list[torch.Tensor]:
        return [torch.tensor(list(Image.open(one.folder / "00000.png").tobytes())).int() for one in some]

    together, alone = sheets("one"), sheets("other")
    sample_small(work, together)
    for sheet in alone:
        sample_small(work, [sheet])
    for a, b in zip(pixels(together), pixels(alone), strict=True):
        assert (a - b).abs().max() <= 1
    pictures = pixels(together)
    assert all((pictures[0] - one).abs().max() > 8 for one in pictures[1:])
    assert (pictures[1] - pictures[2]).abs().max() > 8
    recipe = json.loads(Image.open(together[1].folder / "00000.png").text["triptych"])
    assert [use["denoiser"] for use in recipe["uses"]] == [0.5]


@pytest.fixture
def planted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever is drawn, strength 0.5 after half of the steps is best for LoRA, and full strength for the others."""

    def measured(_: object, pictures: Sequence[Shown]) -> dict[str, dict[tuple[str, int], Seen]]:
        found: dict[str, dict[tuple[str, int], Seen]] = {}
        for one in pictures:
            name, _, point = one.method.partition(" ")
            best = str(Point(0.5, 0.5)) if name == "lora" else str(FULL)
            found.setdefault(one.method, {})[one.prompt, one.seed] = Seen(float(point == best), 0.5, 0.5)
        return found

    monkeypatch.setattr(choosing.Chooser, "_measured", measured)


@pytest.mark.study
def test_a_study_samples_and_exports_the_chosen_point(
    folder: Path, random_base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, planted: None,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    words = typed(random_base, "try", folder, "--budget", "standard", "--precision", "fp32", "--out", tmp_path)
    words += ["--methods", "lora,textual-inversion", "--together", "word+lora", "-s", "lora.steps=4"]
    assert call(monkeypatch, *words) == 0
    record = PointsRecord.read(tmp_path)
    chosen = {one.method: (one.strength, one.moment, one.step) for one in record.chosen}
    assert chosen == {
        "lora": (0.5, 0.5, 2), "textual-inversion": (1.0, 1.0, 2), "textual-inversion+lora": (1.0, 1.0, 0),
    }  # fmt: skip
    sheets = [json.loads(path.read_text()) for path in tmp_path.glob("sheets/*/sheet.json")]
    asked = {role: {p["prompt"] for s in sheets if s["role"] == role for p in s["pictures"]} for role in ("choose",)}
    reported = {p["prompt"] for s in sheets if s["role"] in ("concept", "again", "class") for p in s["pictures"]}
    assert asked["choose"]
    assert not asked["choose"] & reported
    for sheet in tmp_path.glob("sheets/lora-*-concept-*"):
        [use] = json.loads(Image.open(sheet / "00000.png").text["triptych"])["uses"]
        assert (use["file"]["name"].rpartition("/")[2], use["denoiser"]) == ("moment-000002", 0.5)
    [file] = (tmp_path / "artifacts").glob("*-lora.safetensors")
    [moment] = tmp_path.glob("trials/lora-0-*/moment-000002.safetensors")
    exported, kept = open_artifact(file), open_artifact(moment)
    assert gap(exported.tensors, kept.tensors) == 0
    assert exported.provenance["strength"] == "0.5"
    assert TensorFile.open(file).metadata["modelspec.usage_hint"] == "use it at strength 0.5"
    assert (sidecar(file).strength, sidecar(file).triggers) == (0.5, ("dog",))
    page = (tmp_path / "report.html").read_text()
    assert "at strength 0.5, after 2 of 4 steps" in page
    assert "choosing strengths and moments took" in capsys.readouterr().err
    before = {path: path.stat().st_mtime_ns for path in [*tmp_path.glob("sheets/*/*.png"), tmp_path / "points.json"]}
    assert call(monkeypatch, *words) == 0
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert "choosing strengths and moments took" not in capsys.readouterr().err
    assert call(monkeypatch, *words, "--replicates", "3") == 0
    assert "choosing strengths and moments took" in capsys.readouterr().err, "they are chosen anew, of three trainings"


@pytest.mark.study
def test_without_points_files_are_used_as_they_were_trained(
    folder: Path, random_base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, planted: None
) -> None:
    words = typed(random_base, "try", folder, "--budget", "standard", "--precision", "fp32", "--out", tmp_path)
    assert call(monkeypatch, *words, "--methods", "lora,textual-inversion", "--no-points", "--together", "none") == 0
    assert not (tmp_path / "points.json").exists()
    assert not list(tmp_path.glob("trials/*/moment-*"))
    assert not list(tmp_path.glob("artifacts/*.json"))
    assert "--no-points" in (tmp_path / "study.toml").read_text()


@pytest.mark.study
def test_points_are_chosen_once_and_hold_for_all_looks(
    folder: Path, random_base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, planted: None
) -> None:
    monkeypatch.setattr("triptych.study.deciding.settled", lambda _: False)
    asked = []
    choose = choosing.Chooser.choose
    monkeypatch.setattr(choosing.Chooser, "choose", lambda *given: asked.append(given) or choose(*given))
    words = typed(random_base, "try", folder, "--budget", "standard", "--precision", "fp32", "--out", tmp_path)
    words += ["--methods", "lora,textual-inversion", "--together", "none", "-s", "lora.steps=4", "--replicates", "1"]
    assert call(monkeypatch, *words, "--until-decided", "--at-most-pictures", "2") == 0
    assert len(asked) == 2, "the methods, then the combinations, of all looks together"
    looked = list(tmp_path.glob("sheets/lora-*-concept-*/00000.png"))
    used = [json.loads(Image.open(path).text["triptych"])["uses"][0]["denoiser"] for path in looked]
    assert used == [0.5] * 2, "a sheet for each look"
    sheets = [json.loads(path.read_text()) for path in tmp_path.glob("sheets/*/sheet.json")]
    chose, reported = (
        {picture["prompt"] for sheet in sheets if sheet["role"] == role for picture in sheet["pictures"]}
        for role in ("choose", "concept")
    )
    assert chose
    assert not chose & reported


def test_a_joint_pass_counts_the_rows_of_prior_pictures() -> None:
    runs = [run("dreambooth-lora", batch=2), run("lora", batch=2), run("lora", batch=2)]
    assert [len(some) for some in joint_passes(runs, 6)] == [2, 1]
    assert [len(some) for some in joint_passes(runs[1:] * 2, 6)] == [3, 1]
