"""Many concepts: which places hold which, one failing does not stop the rest, and what is said over all of them."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from tests.plain import call, pictures, typed
from tests.simulated import COSTS, DB, HN, LORA, TI, follows, simulate
from triptych.data.collections import ONE_PICTURE, concepts_in
from triptych.errors import TriptychError
from triptych.options import StudyOptions
from triptych.report.concepts import OVER, build_concepts
from triptych.study import Plan, Silent
from triptych.study.many import plans_of, run_many
from triptych.verdict import Verdict, judge
from triptych.verdict.evidence import BOTH
from triptych.verdict.intervals import Interval
from triptych.verdict.many import over_concepts
from triptych.verdict.moderated import estimated

TABLE = "Classes\n\nsubject_name,class\ncat2,cat\nbear_plushie,stuffed animal\nvase,vase\n\nPrompts\n\nObject Prompts\n"
LEVELS = {TI: 0.2, HN: 0.3, LORA: 0.6, DB: 0.5}
CALM = {TI: 0.95, HN: 0.7, LORA: 0.75, DB: 0.6, "base": 1.0}


def concept(place: Path, count: int = 3) -> Path:
    place.mkdir(parents=True)
    for i, picture in enumerate(pictures(count, size=16)):
        picture.save(place / f"{i:02}.jpg")
    return place


def verdict(seed: int, levels: dict[str, float] = LEVELS) -> Verdict:
    """Of a concept that is itself easier or harder, and whose methods differ from their levels."""
    random = np.random.default_rng(seed)
    own = {name: level + random.normal(0, 0.1) for name, level in levels.items()}
    likeness = simulate(own, CALM, seed=seed)
    return judge(likeness + follows(likeness, dict.fromkeys(levels, 0.9)), COSTS)


# Layouts


def test_folders_folders_of_folders_and_names_that_occur_twice(tmp_path: Path) -> None:
    for name in ("one/cat", "two/cat", "two/dog"):
        concept(tmp_path / name)
    (tmp_path / "two" / "notes").mkdir()
    found = concepts_in([tmp_path / "one" / "cat", tmp_path / "two"])
    assert [(entry.name, entry.place) for entry in found.entries] == [
        ("cat", tmp_path / "one" / "cat"), ("cat-2", tmp_path / "two" / "cat"), ("dog", tmp_path / "two" / "dog"),
    ]  # fmt: skip


def test_a_folder_that_is_missing_is_said_before_anything_is_studied(tmp_path: Path) -> None:
    (tmp_path / "koala").mkdir()
    with pytest.raises(TriptychError, match=r"there is no folder .*koalas; did you mean 'koala'"):
        concepts_in([tmp_path / "koala", tmp_path / "koalas"])


def test_kohyas_folders_are_of_one_concept(tmp_path: Path) -> None:
    concept(tmp_path / "mine" / "10_ohwx cat")
    concept(tmp_path / "mine" / "5_ohwx cat")
    assert [entry.place for entry in concepts_in([tmp_path / "mine"]).entries] == [tmp_path / "mine"]


def test_kohyas_folders_of_other_words_are_other_concepts(tmp_path: Path) -> None:
    for name in ("10_tom cat", "5_rex dog"):
        concept(tmp_path / "pets" / name)
    for place in (tmp_path / "pets", tmp_path):
        plans = plans_of([place], StudyOptions(), lambda line: None)
        opened = [plan.concept() for plan in plans.values() if isinstance(plan, Plan)]
        assert [(each.name, each.token, each.class_word) for each in opened] == [
            ("10_tom cat", "tom", "cat"), ("5_rex dog", "rex", "dog"),
        ]  # fmt: skip
        assert list(plans) == [each.name for each in opened]
    again = plans["5_rex dog"]
    assert isinstance(again, Plan) and "--only 'rex dog'" in again.command
    stated = plans_of([tmp_path / "pets"], StudyOptions(class_word="pet"), lambda line: None)
    assert list(stated) == ["pets"]
    assert list(plans_of([tmp_path / "pets"], StudyOptions(only="rex dog"), lambda line: None)) == ["5_rex dog"]


@pytest.mark.parametrize("given", ["", "dataset"])
def test_dreambooths_subjects_have_the_classes_of_their_table(tmp_path: Path, given: str) -> None:
    for name in ("cat2", "bear_plushie", "unheard_of"):
        concept(tmp_path / "dataset" / name)
    (tmp_path / "dataset" / "prompts_and_classes.txt").write_text(TABLE)
    found = concepts_in([tmp_path / given])
    assert {entry.name: entry.class_word for entry in found.entries} == {
        "cat2": "cat", "bear_plushie": "stuffed animal", "unheard_of": "",
    }  # fmt: skip
    said = "\n".join(found.notes)
    assert "prompts are not used" in said and "unheard_of" in said and "'vase'" in said
    plans = plans_of([tmp_path / given], StudyOptions(budget="quick"), lambda line: None)
    assert isinstance(plans["bear_plushie"], Plan) and plans["bear_plushie"].concept().class_word == "stuffed animal"
    stated = plans_of([tmp_path / given], StudyOptions(class_word="thing"), lambda line: None)
    assert isinstance(stated["cat2"], Plan) and stated["cat2"].class_word == "thing"


def test_a_table_without_its_head_is_named(tmp_path: Path) -> None:
    concept(tmp_path / "cat")
    (tmp_path / "prompts_and_classes.txt").write_text("cat,cat\n")
    with pytest.raises(TriptychError, match="subject_name,class"):
        concepts_in([tmp_path])


def test_one_picture_a_concept_is_known_and_said_to_be_too_few(tmp_path: Path) -> None:
    for name, text in {"live_subject/animal/00": "Cat\na cat on a sofa", "style/00": "ink drawing\na house"}.items():
        for folder, suffix in (("images", ".jpg"), ("captions", ".txt")):
            (tmp_path / folder / name).parent.mkdir(parents=True, exist_ok=True)
            path = (tmp_path / folder / name).with_suffix(suffix)
            pictures(1)[0].save(path) if suffix == ".jpg" else path.write_text(text)
    found = concepts_in([tmp_path])
    assert [(entry.name, entry.class_word, entry.kind) for entry in found.entries] == [
        ("live_subject-animal-00-cat", "Cat", "subject"), ("style-00-ink-drawing", "ink drawing", "style"),
    ]  # fmt: skip
    assert all(entry.place.is_file() and entry.unfit == ONE_PICTURE for entry in found.entries)
    plans = plans_of([tmp_path], StudyOptions(), lambda line: None)
    with pytest.raises(TriptychError, match=r"none of 2 concepts has a verdict.*could not be told from copying"):
        run_many(plans, tmp_path / "out", Silent(), lambda plan, place: pytest.fail("nothing can be studied"))


# Over concepts


def test_the_intervals_over_concepts_are_those_of_moderated_t() -> None:
    verdicts = {str(seed): verdict(seed) for seed in range(5)}
    over = over_concepts(verdicts)
    assert over is not None and over.replicates == 5
    means = np.array([[each.methods[name][BOTH].value for each in verdicts.values()] for name in LEVELS])
    told = next(d for d in over.differences if (d.criterion, d.method, d.other) == (BOTH, LORA, DB))
    sign = 1 if told.method == LORA else -1
    apart = sign * (means[2] - means[3])
    prior, _ = estimated(means)
    freedom = 4 + prior.freedom
    variance = (prior.freedom * 2 * prior.scale + 4 * apart.var(ddof=1)) / freedom
    half = stats.t.ppf(0.975, freedom) * np.sqrt(variance / 5)
    assert told.interval.value == pytest.approx(apart.mean())
    assert told.interval.high - told.interval.value == pytest.approx(half, rel=1e-6)


def test_what_holds_on_most_concepts_is_found_and_more_concepts_would_decide_the_rest() -> None:
    over = over_concepts({str(seed): verdict(seed) for seed in range(8)})
    assert over is not None
    assert over.recommendation.choice.method == LORA and over.answers["textual_inversion_is_enough"].answer == "no"
    assert "trainings of each method" not in over.to_json() and "no interval here includes" not in " ".join(over.notes)
    assert any("concepts instead of 8" in told.needed for told in over.differences)


@pytest.mark.slow
def test_over_concepts_equal_methods_are_seldom_called_different() -> None:
    """A method makes more of one concept than of another (0.15), and some concepts are hard for all (0.2)."""
    random, one, wrong = np.random.default_rng(0), verdict(0), 0
    for _ in range(200):
        hard = random.normal(0.4, 0.2, (5, 1))
        means = hard + random.normal(0, 0.15, (5, len(LEVELS)))
        rows = [
            {name: {BOTH: Interval(value, -1, 2, 30)} for name, value in zip(LEVELS, row, strict=True)} for row in means
        ]
        over = over_concepts({str(i): replace(one, methods=row, base={}) for i, row in enumerate(rows)})
        assert over is not None
        wrong += any(told.decision in ("better", "worse") for told in over.differences)
    assert wrong / 200 <= 0.05 + 2 * (0.05 * 0.95 / 200) ** 0.5


def test_concepts_that_contradict_each_other_decide_nothing() -> None:
    turned = {TI: 0.6, HN: 0.3, LORA: 0.2, DB: 0.5}
    over = over_concepts({"a": verdict(1), "b": verdict(2), "c": verdict(3, turned), "d": verdict(4, turned)})
    assert over is not None
    told = {frozenset((d.method, d.other)): d.decision for d in over.differences if d.criterion == BOTH}
    assert told[frozenset((TI, LORA))] == "undecided"


def test_a_method_that_is_missing_on_one_concept_is_judged_on_the_others() -> None:
    some = {name: level for name, level in LEVELS.items() if name != HN}
    over = over_concepts({"a": verdict(1), "b": verdict(2), "c": verdict(3, some)})
    assert over is not None and over.methods[HN][BOTH].n == 2 and over.methods[LORA][BOTH].n == 3


def test_of_one_concept_nothing_is_said_over_concepts() -> None:
    unusable = judge(simulate({TI: 0.2, LORA: 0.3})[6:], COSTS)  # without a ceiling
    assert over_concepts({"a": verdict(1), "b": unusable}) is None


# Running them


def made(seeds: dict[str, int], done: list[str]) -> Callable[[Plan, Path], Verdict]:
    """Writes the verdict of each concept instead of a study; a concept without a seed fails."""

    def study(plan: Plan, place: Path) -> Verdict:
        done.append(place.name)
        if plan.folder.name not in seeds:
            raise TriptychError(f"{plan.folder.name} has too few pictures <b>")
        place.mkdir(exist_ok=True)
        found = verdict(seeds[plan.folder.name])
        (place / "verdict.json").write_text(found.to_json())
        return found

    return study


def test_one_failing_concept_does_not_stop_the_rest_and_all_are_on_the_page(tmp_path: Path) -> None:
    for name in ("cat", "bad", "my dog #1"):
        concept(tmp_path / "all" / name)
    done: list[str] = []
    plans = plans_of([tmp_path / "all"], StudyOptions(), lambda line: None)
    many = run_many(plans, tmp_path / "out", Silent(), made({"cat": 1, "my dog #1": 2}, done))
    assert done == ["bad", "cat", "my dog #1"] and list(many.failures) == ["bad"] and many.over
    page = many.page.read_text()
    assert 'href="my%20dog%20%231/report.html"' in page and 'href="cat/report.html"' in page
    assert "too few pictures &lt;b&gt;" in page and "Over all concepts" in page
    kept = json.loads((tmp_path / "out" / OVER).read_text())
    assert kept == json.loads(many.over.to_json())
    many.page.unlink()
    assert build_concepts(tmp_path / "out").read_text() == page


def test_the_verdict_over_other_concepts_is_not_shown(tmp_path: Path) -> None:
    for name in ("cat", "dog"):
        concept(tmp_path / "all" / name)
    out = tmp_path / "out"

    def page(seeds: dict[str, int]) -> str:
        plans = plans_of([tmp_path / "all"], StudyOptions(), lambda line: None)
        return run_many(plans, out, Silent(), made(seeds, [])).page.read_text()

    assert "Over all concepts" in page({"cat": 1, "dog": 2})
    assert "Over all concepts" not in page({"cat": 1})


def test_a_folder_with_the_study_of_one_concept_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "verdict.json").write_text("{}")
    with pytest.raises(TriptychError, match="study of one concept"):
        run_many({}, tmp_path, Silent(), made({}, []))


@pytest.mark.study
@pytest.mark.xdist_group("many")
def test_two_folders_and_a_bad_one_are_tried_at_once(
    folder: Path, random_base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "all").mkdir()
    for name in ("a-dog", "b-dog"):
        (tmp_path / "all" / name).symlink_to(folder)
    concept(tmp_path / "all" / "c-dog", 1)
    words = typed(random_base, "try", tmp_path / "all", "--budget", "quick", "--precision", "fp32", "--no-points")
    words += ["--methods", "textual-inversion,lora", "--together", "none", "--prompts", "4", "--unrelated", "2"]
    words += ["-s", "lora.steps=2", "-s", "textual-inversion.steps=2", "--out", str(tmp_path / "out")]
    assert call(monkeypatch, *words) == 0
    said = capsys.readouterr().out
    assert "c-dog  no verdict" in said and f"report: {tmp_path / 'out' / 'report.html'}" in said
    assert {path.parent.name for path in (tmp_path / "out").glob("*/report.html")} == {"a-dog", "b-dog"}
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").glob("*/trials/*/trial.json")}
    assert len(before) == 4 and call(monkeypatch, *words) == 0
    assert before == {path: path.stat().st_mtime_ns for path in before}, "what is there is not trained again"
    assert call(monkeypatch, "report", str(tmp_path / "out")) == 0
