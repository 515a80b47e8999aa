"""The stated prior of the spread between trainings: given by the user, estimated from studies, said in the notes."""

from __future__ import annotations

import json
import tomllib
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest

from benchmarks.prior import Spread, fitted, inside
from benchmarks.trainings_page import threads
from tests.plain import call, typed
from tests.simulated import DB, LORA, TI, simulate
from triptych.base.description import Trainings
from triptych.errors import TriptychError
from triptych.study.joining import judged_as_one
from triptych.study.plan import Plan
from triptych.study.prior import trainings_of
from triptych.verdict import NEEDS, Prior, judge
from triptych.verdict.summary import QUESTIONS

STATED = Trainings(5, 0.04, 6, 0.01)
FIGURES = Path(__file__).parents[1] / "docs" / "verdict" / "prior.json"


@pytest.mark.parametrize(
    ("given", "found"),
    [
        (None, STATED),
        ((), Trainings()),
        (("0.07", "8"), Trainings(8, 0.07)),
        (("0.07", "8", "0.02", "3"), Trainings(8, 0.07, 3, 0.02)),
    ],
)
def test_the_user_states_another_or_none(given: tuple[str, ...] | None, found: Trainings) -> None:
    assert trainings_of(given, STATED) == found


@pytest.mark.parametrize("bad", ["0.07", "wide,8", "-0.1,5", "0.07,0", "nan,5", "1,2,3"])
def test_what_is_no_spread_is_refused_before_any_work(bad: str, tmp_path: Path) -> None:
    with pytest.raises(TriptychError, match="state"):
        Plan(tmp_path, prior=tuple(bad.split(",")))


def test_the_notes_say_that_it_was_used_and_with_one_training_it_is_not() -> None:
    levels = {TI: 0.2, LORA: 0.4, DB: 0.6}
    known = Prior.known(5, 0.04, 6, 0.01)
    two, one = (judge(simulate(levels, runs=runs), [], prior=known) for runs in (2, 1))
    said = [note for note in two.notes if "joined to them" in note]
    assert len(said) == 1 and "0.04 between trainings of a method (5 degrees of freedom)" in said[0]
    assert not [note for note in one.notes if "joined to them" in note]


def spreads(count: int, freedom: float, seed: int = 0) -> list[Spread]:
    """Concepts of six methods and two trainings, whose methods' spreads are drawn around 0.06."""
    random, found = np.random.default_rng(seed), []
    for _ in range(count):
        own = 0.06 * np.sqrt(freedom / random.chisquare(freedom, (6, 1)))
        means = random.normal(0, 1, (6, 2)) * own + random.normal(0, 0.1, (1, 2)) + random.normal(0, 0.02, (6, 2))
        found.append(Spread("", tuple("abcdef"), means, np.full(6, 0.02**2)))
    return found


@pytest.mark.slow
def test_the_prior_of_studies_is_found_again_and_foretells_others() -> None:
    prior = fitted(spreads(60, 8.0))
    assert prior.spread == pytest.approx(0.06, abs=0.012) and prior.shared == pytest.approx(0.1, abs=0.025)
    assert 4 <= prior.freedom <= 16 and prior.shared_freedom == 60
    counts, pairs = np.zeros(3), 0
    for one in spreads(100, 8.0, seed=1):
        found, of = inside(prior, one)
        counts, pairs = counts + list(found.values()), pairs + of
    assert counts / pairs == pytest.approx([0.5, 0.8, 0.95], abs=0.06)


def test_the_demo_base_states_what_its_studies_gave() -> None:
    from triptych.base.description import Description
    from triptych.base.opening.loading import EMBEDDED

    told = json.loads(FIGURES.read_text())
    assert Description.of(EMBEDDED["demo"], "demo").verdict == Trainings(**told["prior"])
    assert all(abs(told["inside"][share] - float(share)) <= 0.1 for share in told["inside"])


def test_the_page_shows_what_several_threads_and_builds_said() -> None:
    answers = {name: ["probably", 0.85] for name in QUESTIONS}
    run = {"answers": answers, "recommended": dict.fromkeys(NEEDS, "lora"), "both": {"lora": 0.381, "dreambooth": 0.1}}
    nothing = {**run, "recommended": dict.fromkeys(NEEDS), "both": {"lora": 0.3}}
    told = {"command": "C", "study": "S", "runs": [
        {"torch": "2.9", "threads": 1, **run}, {"torch": "2.9", "threads": 2, **nothing},
    ]}  # fmt: skip
    lines = list(threads(told))
    assert "| | 1 thread, torch 2.9 | 2 threads, torch 2.9 |" in lines
    assert "| recommended for small | LoRA | nothing |" in lines
    assert "| LoRA, both at once | 0.38 | 0.30 |" in lines and "| DreamBooth, both at once | 0.10 |  |" in lines
    assert "| Is DreamBooth excessive? | probably (85 %) | probably (85 %) |" in lines


@pytest.mark.study
@pytest.mark.xdist_group("prior")
def test_a_study_is_judged_again_by_another_prior_and_nothing_is_trained_again(
    folder: Path, random_base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    words = typed(random_base, "try", folder, "--budget", "quick", "--precision", "fp32", "--no-points")
    words += ["--methods", "textual-inversion,lora", "--together", "none", "--prompts", "6", "--unrelated", "2"]
    words += ["-s", "lora.steps=2", "-s", "textual-inversion.steps=2", "--replicates", "2", "--out", str(out)]
    stated = []
    trained = []
    for prior in ("0.07,8,0.02,3", "none"):
        assert call(monkeypatch, *words, "--prior", prior) == 0
        stated.append(tomllib.loads((out / "study.toml").read_text())["prior"])
        trained.append({path: path.stat().st_mtime_ns for path in out.glob("trials/*/trial.json")})
    assert stated == [asdict(Trainings(8, 0.07, 3, 0.02)), asdict(Trainings())]
    assert len(trained[0]) == 4 and trained[0] == trained[1]
    assert judged_as_one([out]).replicates == 2
    assert call(monkeypatch, *words, "--prior", "wide") == 2
