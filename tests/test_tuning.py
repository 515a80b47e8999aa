"""Tuning: the same effort for every method, trials given up at rungs, gone on with where it was stopped."""

from __future__ import annotations

import json
import shutil
import tomllib
from dataclasses import replace
from pathlib import Path

import pytest
import tomli_w
from PIL import Image

from tests.drawn import GREEN, RED, Colours
from tests.worlds import FAST, call, gap, pictures, trial, typed
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
from triptych.training.fit import fit

USUAL = Training(lr=1e-3, steps=90)


@pytest.mark.slow
def test_an_owner_that_stops_early_leaves_the_other_trainings_unchanged(base: Base) -> None:
    told = []

    def stop_early(done: int, losses: dict[str | None, float]) -> list[str | None]:
        told.append((done, sorted(map(str, losses))))
        return ["ann"] if done == 4 else []

    trials = [trial("lora", "ann", fixed_every=2, steps=8), trial("hypernetwork", "bob", fixed_every=2, steps=8)]
    gone, other = fit(base, trials, stop_early=stop_early)  # type: ignore[arg-type]
    assert (len(gone.losses), len(other.losses)) == (4, 8)
    assert told == [(0, ["ann", "bob"]), (2, ["ann", "bob"]), (4, ["ann", "bob"]), (6, ["bob"]), (8, ["bob"])]
    whole = fit(base, [trial("hypernetwork", steps=8)])[0]
    judged = {name for name in whole.tensors if not (".k.linear" in name and name.endswith("bias"))}
    assert gap({n: other.tensors[n] for n in judged}, {n: whole.tensors[n] for n in judged}) < 2e-5


def run_search(search: Search, trials: int) -> None:
    """A method that is best at ten times the usual rate, and whose loss says so."""
    while search.spent < trials:
        for asked in search.ask(1):
            off = abs(asked.params["lr"] / 1e-2 - 1)
            given_up = any(search.report(asked, done, 1 + off) for done in range(10, asked.params["steps"] + 1, 10))
            search.end(asked, None if given_up else 1 - off)


@pytest.mark.slow
def test_the_search_starts_at_the_usual_and_gives_up_at_rungs(tmp_path: Path) -> None:
    search = Search(tmp_path / "journal", "lora", "k", USUAL, 0)
    run_search(search, 20)
    table = search.table()
    assert table[0].settings == {"lr": 1e-3, "steps": 90}
    assert search.first_rung == 10
    states = [one.state for one in table]
    assert states.count("pruned") >= 10
    assert all(one.value is None for one in table if one.state == "pruned")
    ended = {max(map(int, one.looks)) for one in table if one.state == "pruned"}
    assert ended <= {10, 30, 90}, ended
    best = search.best()
    assert best is not None
    assert abs(best["lr"] / 1e-2 - 1) < 0.7
    assert 45 <= best["steps"] <= 180


def test_a_stopped_search_goes_on(tmp_path: Path) -> None:
    run_search(Search(tmp_path / "journal", "lora", "k", USUAL, 0), 4)
    interrupted = Search(tmp_path / "journal", "lora", "k", USUAL, 0).ask(2)
    again = Search(tmp_path / "journal", "lora", "k", USUAL, 0)
    assert again.spent == 4
    assert [asked.params for asked in again.ask(2)] == [asked.params for asked in interrupted]
    assert Search(tmp_path / "journal", "lora", "other", USUAL, 0).spent == 0
    with pytest.raises(TriptychError, match="above 0"):
        Search(tmp_path / "journal", "lora", "k", Training(lr=0.0), 0)


def test_tuned_settings_are_read_as_written(tmp_path: Path) -> None:
    tuned = Tuned({"lora": {"lr": 3e-3, "steps": 5}}, {"lora": 7}, ("abc",))
    tuned.write(tmp_path / "t.toml", {"base": "demo"}, [Tried("lora", 0, "pruned", {"lr": 1.0}, {"5": 0.5})])
    assert Tuned.read(tmp_path / "t.toml") == tuned
    told = tomllib.loads((tmp_path / "t.toml").read_text())
    assert told["trial"][0]["looks"] == {"5": 0.5}
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
    words += ["-s", "dreambooth.prior_pictures=2"]
    assert call(monkeypatch, *words, "--trials", "1", "--json") == 0, capsys.readouterr().err
    first = capsys.readouterr()
    assert "nothing to tune" in first.err
    assert call(monkeypatch, *words, "--trials", "2", "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert told["trials"] == dict.fromkeys(names[:2], 2)
    written = tomllib.loads(Path(told["file"]).read_text())
    assert written["methods"] == told["settings"]
    assert len(written["trial"]) == 4
    whole = [one for one in written["trial"] if one["state"] == "complete"]
    assert all("value" in one for one in whole)
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
