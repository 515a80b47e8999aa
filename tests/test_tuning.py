"""Tuning: as many trials of every method are judged by pictures, and a stopped search goes on."""

from __future__ import annotations

import json
import math
import shutil
import tomllib
from dataclasses import replace
from pathlib import Path

import pytest
import tomli_w
from PIL import Image

from tests.drawn import GREEN, RED, Colours
from tests.worlds import FAST, call, pictures, typed
from triptych.base import Base, Description, tiny_base
from triptych.data.concept import Concept
from triptych.errors import TriptychError
from triptych.methods import Training
from triptych.study import Plan, Silent
from triptych.study.layout import Layout
from triptych.study.search import Search
from triptych.study.tuned import Tried, Tuned
from triptych.study.tuning import FIRST_SEED, tuning_prompts
from triptych.study.work import Work

USUAL = Training(lr=1e-3, steps=90)


def run_search(search: Search, trials: int, best: float = 1e-2) -> None:
    """A method whose pictures are best at that rate; one whose rate is over 30 times too high fails."""
    while search.left(trials):
        for asked in search.ask(1):
            off = math.log10(asked.params["lr"] / best)
            search.end(asked, None if off > 1.5 else 1 - abs(off))


@pytest.mark.slow
def test_every_trial_is_judged_from_the_usual_one_on(tmp_path: Path) -> None:
    search = Search(tmp_path / "journal", "lora", "k", USUAL, 0)
    run_search(search, 12)
    table = search.table()
    assert table[0].settings == {"lr": 1e-3, "steps": 90}
    assert sum(tried.value is not None for tried in table) == len(search.judged) == 12
    assert all(45 <= tried.settings["steps"] <= 180 for tried in table)  # type: ignore[operator]
    assert search.best() == max(table, key=lambda tried: tried.value or -math.inf).settings


@pytest.mark.slow
@pytest.mark.parametrize("factor", [100, 0.01])
def test_the_range_follows_a_best_rate_that_lies_near_its_end(tmp_path: Path, factor: float) -> None:
    search = Search(tmp_path / "journal", "lora", "k", USUAL, 0)
    run_search(search, 30, best=USUAL.lr * factor)
    assert abs(math.log10(search.middle() / (USUAL.lr * factor))) < 1
    assert abs(math.log10(search.best()["lr"] / (USUAL.lr * factor))) < 0.5  # type: ignore[index]


def test_a_search_whose_trainings_all_fail_ends(tmp_path: Path) -> None:
    search = Search(tmp_path / "journal", "lora", "k", USUAL, 0)
    run_search(search, 3, best=1e-6)
    assert (len(search.table()), search.judged, search.best()) == (6, [], None)


def test_a_stopped_search_goes_on(tmp_path: Path) -> None:
    run_search(Search(tmp_path / "journal", "lora", "k", USUAL, 0), 4)
    interrupted = Search(tmp_path / "journal", "lora", "k", USUAL, 0).ask(2)
    again = Search(tmp_path / "journal", "lora", "k", USUAL, 0)
    assert len(again.judged) == 4
    assert [asked.params for asked in again.ask(2)] == [asked.params for asked in interrupted]
    assert Search(tmp_path / "journal", "lora", "other", USUAL, 0).judged == []
    with pytest.raises(TriptychError, match="above 0"):
        Search(tmp_path / "journal", "lora", "k", Training(lr=0.0), 0)


def test_tuned_settings_are_read_as_written(tmp_path: Path) -> None:
    tuned = Tuned({"lora": {"lr": 3e-3, "steps": 5}}, {"lora": 7}, ("abc",))
    tuned.write(tmp_path / "t.toml", {"base": "demo"}, [Tried("lora", 0, {"lr": 1.0}, 0.5)])
    assert Tuned.read(tmp_path / "t.toml") == tuned
    told = tomllib.loads((tmp_path / "t.toml").read_text())
    assert told["trial"] == [{"method": "lora", "number": 0, "settings": {"lr": 1.0}, "value": 0.5}]
    (tmp_path / "bad.toml").write_text("lr = 3")
    with pytest.raises(TriptychError, match=r"give its tuned\.toml"):
        Tuned.read(tmp_path / "bad.toml")
    with pytest.raises(TriptychError, match="cannot be read"):
        Tuned.read(tmp_path / "none.toml")


def test_tuned_settings_lie_between_the_bases_and_the_users(tmp_path: Path, folder: Path) -> None:
    Tuned({"lora": {"lr": 3e-3, "rank": 2, "steps": 50}}, {"lora": 7}, ()).write(tmp_path / "t.toml", {}, [])
    plan = Plan(folder, tuned=tmp_path / "t.toml", settings={"lora": {"rank": 3}}, budget="quick")
    base = tiny_base()
    settings = plan.settings_of("lora", base, Concept.open(folder))
    assert (settings.lr, settings.rank) == (3e-3, 3)
    assert settings.steps == round(50 * base.description.budgets["quick"].steps)
    assert plan.tuning_trials("lora", base) == 7
    assert Plan(folder).tuning_trials("lora", base) == 0
    base.description = replace(base.description, tuning_trials={"lora": 12})
    assert (plan.tuning_trials("lora", base), Plan(folder).tuning_trials("lora", base)) == (7, 12)


@pytest.mark.parametrize("family", ["sd1", "sd2", "sdxl"])
def test_what_chooses_is_not_what_reports(family: str) -> None:
    described = Description.of(None, family)
    check_prompts(described)


def test_what_chooses_is_not_what_reports_on_the_demo_base() -> None:
    import triptych

    check_prompts(Description.of(Path(triptych.__file__).parent / "base" / "demo", "demo"))


def check_prompts(described: Description) -> None:
    assert set(described.tuning_prompts) == {"subject", "style", "scene"}
    for prompts in described.tuning_prompts.values():
        assert all(prompt.count("{}") == 1 for prompt in prompts)


def test_the_folders_own_prompts_are_not_chosen_by(tmp_path: Path) -> None:
    place = tmp_path / "some-dog"
    place.mkdir()
    for i, picture in enumerate(pictures(4)):
        picture.save(place / f"{i}.png")
    base, concept = tiny_base(), Concept.open(place)
    prompts = tuning_prompts(base, Plan(place), concept)
    (place / "prompts.txt").write_text(prompts[0])
    assert tuning_prompts(base, Plan(place), concept) == prompts[1:]
    (place / "prompts.txt").write_text("\n".join(prompts))
    with pytest.raises(TriptychError, match="give it others"):
        tuning_prompts(base, Plan(place), concept)


def test_a_study_reports_no_prompt_that_settings_were_chosen_by(folder: Path, tmp_path: Path) -> None:
    base = tiny_base()
    chosen_by = base.description.tuning_prompts["subject"]
    population = replace(base.description.population, words={"colour": ("blue", "large", "red", "green")})
    base.description = replace(base.description, population=population)
    plan = Plan(folder, prompts=40)
    work = Work(plan, base, Concept.open(folder), Layout(tmp_path), Silent())
    assert not {one.template for one in work.prompts} & set(chosen_by)


@pytest.mark.slow
def test_what_the_base_already_draws_chooses_nothing(
    folder: Path, random_base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(monkeypatch, *typed(random_base, "tune", folder, "--precision", "fp32", "--out", tmp_path)) == 2
    assert "the base already draws it by its class word 'dog'" in capsys.readouterr().err


def plain(place: Path, colour: tuple[int, int, int]) -> Path:
    place.mkdir()
    for i in range(4):
        Image.new("RGB", (16 + i, 16), colour).save(place / f"{i}.png")
    return place


@pytest.mark.study
def test_the_command(
    random_base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("triptych.metrics.encoders.open_encoder", lambda name, kind, device: Colours())
    monkeypatch.setattr("triptych.study.encoders.open_encoder", lambda name, kind, device: Colours())
    monkeypatch.setattr(Base, "redraw", lambda self, pictures: pictures)  # a random autoencoder gives nothing back
    folders = [plain(tmp_path / name, colour) for name, colour in (("red-dog", RED), ("green-owl", GREEN))]
    names = ["lora", "dreambooth", "aesthetic-gradients"]
    shutil.copytree(random_base, tmp_path / "random")
    described = tmp_path / "random" / "base" / "triptych.toml"
    told = tomllib.loads(described.read_text())
    told["budgets"]["quick"]["steps"] = 0.6
    told["text_encoder"] = "colours"
    described.write_text(tomli_w.dumps(told))
    words = typed(tmp_path / "random", "tune", *folders, "--methods", ",".join(names), "--out", tmp_path / "out")
    words += ["--budget", "quick", "--precision", "fp32"]
    words += [f for name in names[:2] for f in ("-s", f"{name}.steps=6", "-s", f"{name}.lr={FAST[name]['lr']}")]
    words += ["-s", "dreambooth.prior_pictures=2", "-s", "lora.keep=best"]
    assert call(monkeypatch, *words, "--trials", "1", "--json") == 0, capsys.readouterr().err
    first = capsys.readouterr()
    assert "nothing to tune" in first.err
    assert call(monkeypatch, *words, "--trials", "2", "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert told["trials"] == dict.fromkeys(names[:2], 2)
    written = tomllib.loads(Path(told["file"]).read_text())
    assert written["methods"] == told["settings"]
    whole = [one for one in written["trial"] if "value" in one]
    assert len(whole) == 4
    assert all(FIRST_SEED <= seed < FIRST_SEED + 100_100 for seed in written["tuning"]["seeds"])
    for name in names[:2]:
        best = max((one for one in whole if one["method"] == name), key=lambda one: one["value"])["settings"]
        assert told["settings"][name] == best | {"steps": round(best["steps"] / 0.6)}  # the budget takes its part again
    print(written)
    study = typed(random_base, "try", folders[0], "--budget", "quick", "--methods", "lora", "--out", tmp_path / "study")
    assert call(monkeypatch, *study, "--precision", "fp32", "--tuned", told["file"]) == 0
    assert "tuned on these very pictures" in capsys.readouterr().err
    verdict = json.loads((tmp_path / "study" / "verdict.json").read_text())
    assert verdict["costs"]["lora"]["tuning_trials"] == 2
    record = json.loads(next((tmp_path / "study").glob("trials/*/trial.json")).read_text())
    assert record["settings"]["lr"] == told["settings"]["lora"]["lr"]
