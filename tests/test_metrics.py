"""The criteria on planted cases: pictures whose likeness is known."""

from __future__ import annotations

import subprocess
import sys
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.drawn import BLUE, DEMO, GREEN, RED, Colours, Study, composed
from triptych.data.concept import Concept
from triptych.metrics import Evidence, Metric, Shown, measure, metrics
from triptych.metrics.memorisation import _expected_largest
from triptych.metrics.pairs import pseudo_values
from triptych.metrics.vendi import vendi
from triptych.metrics.world import World
from triptych.scores import BASE, RESEEDED, Score


def test_subject_fidelity_is_likeness_to_what_the_run_held_out(tmp_path: Path) -> None:
    study = Study(tmp_path, [RED, GREEN, BLUE])
    held_out = [study.evidence.concept.split(run).held_out[0] for run in range(3)]
    for run in range(3):
        study.draw("lora", RED, run=run)
    study.draw(BASE, RED)
    values = study.values("subject_fidelity")
    assert values[:3] == [float(each == 0) for each in held_out]
    assert values[3] == pytest.approx(1 / 3, abs=1e-5)  # the bare base, against what each run held out
    assert study.scores("subject_fidelity")[1] == Score(
        "subject_fidelity", "lora", values[1], 1, "a red cat", 0, "1.png"
    )


def test_the_ceiling_is_the_likeness_of_training_pictures_to_held_out_ones(tmp_path: Path) -> None:
    """As a drawn picture is measured: against what its run held out, and nothing else."""
    study = Study(tmp_path, [RED, RED, GREEN])
    held_out = study.evidence.concept.split(0).held_out
    scores = study.scores("ceiling")
    real = study.evidence.real_features
    assert {score.prompt: score.value for score in scores} == pytest.approx(
        {f"{i}.png": float(real[i] @ real[held_out[0]]) for i in range(3) if i not in held_out}
    )
    assert {(score.method, score.seed) for score in scores} == {("real", None)}


def test_diversity_is_one_less_the_likeness_of_pairs(tmp_path: Path) -> None:
    study = Study(tmp_path, [RED] * 3)
    for seed, (one, other) in enumerate([(RED, RED), (RED, GREEN), (RED, BLUE)]):
        study.draw("same", one, seed=seed)
        study.draw("different", (RED, GREEN, BLUE)[seed], seed=seed)
        study.draw("two", other if seed < 2 else RED, seed=seed, prompt="b")
    study.draw("alone", RED)
    assert {s.method: round(s.value, 5) for s in study.scores("diversity")} == {
        "same": 0,
        "different": 1,
        "two": 0.66667,
    }


def test_base_preservation_lies_between_the_same_picture_and_that_of_another_prompt(tmp_path: Path) -> None:
    study = Study(tmp_path, [RED] * 3)
    for prompt, colour in (("a dog", RED), ("a sun", GREEN)):
        study.draw(BASE, colour, prompt=prompt, role="unrelated")
        study.draw(RESEEDED, (255, 255, 0), seed=9, prompt=prompt, role="unrelated")
        study.draw("lora", RED, prompt=prompt, run=2, role="unrelated")
    study.draw("lora", RED, seed=7, prompt="a dog", role="unrelated")  # nothing to pair with
    assert [(s.method, s.replicate, round(s.value, 3)) for s in study.scores("base_preservation")] == [
        (BASE, 0, 1.0), (RESEEDED, 0, 0.707), ("lora", 2, 1.0), (BASE, 0, 1.0), (RESEEDED, 0, 0.707), ("lora", 2, 0.0)
    ]  # fmt: skip


def test_prompt_fidelity_by_text_is_the_rank_of_the_right_word_between_chance_and_the_bare_base(
    tmp_path: Path,
) -> None:
    study = Study(tmp_path, [RED] * 3)
    for colour in ("red", "green", "blue"):
        study.draw(BASE, {"red": RED, "green": GREEN, "blue": BLUE}[colour], prompt=f"a {colour} cat")
    study.draw("second", (100, 255, 0), prompt="a red cat")
    study.draw("right", (255, 100, 0), prompt="a red cat")
    study.draw("last", (0, 255, 10), prompt="a red cat")
    assert study.scores("prompt_fidelity") == []
    study.evidence.text_encoder = study.encoder
    study.evidence.words = {"colour": ("red", "green", "blue")}
    scores = [s for s in study.scores("prompt_fidelity") if s.metric == "prompt_colour"]
    assert {s.method: round(s.value, 3) for s in scores} == {
        BASE: 1.0, "second": 0.0, "right": 1.0, "last": 0.0, "real": 1.0
    }  # fmt: skip


def test_a_prompt_that_names_no_known_word_is_held_against_the_others(tmp_path: Path) -> None:
    study = Study(tmp_path, [RED] * 3)
    study.evidence.text_encoder = study.encoder
    for method, colour in ((BASE, RED), ("lora", GREEN)):
        study.draw(method, colour, prompt="a red cat")
        study.draw(method, GREEN, prompt="a green cat")
    told = [(s.method, s.prompt, s.value) for s in study.scores("prompt_fidelity") if s.metric == "prompt_fidelity"]
    assert told == [
        (BASE, "a red cat", 1.0), (BASE, "a green cat", 1.0), ("lora", "a red cat", 0.0), ("lora", "a green cat", 1.0)
    ]  # fmt: skip


def test_real_pictures_are_asked_by_their_captions(tmp_path: Path) -> None:
    study = Study(tmp_path, [RED, GREEN, BLUE])
    for i, colour in enumerate(("red", "red", "blue")):
        (tmp_path / "red-cat" / f"{i}.txt").write_text(f"a {colour} <concept>")
    study.evidence.concept = Concept.open(tmp_path / "red-cat")
    study.evidence.text_encoder = study.encoder
    study.evidence.words = {"colour": ("red", "green", "blue")}
    study.draw("lora", RED)
    real = {s.metric: s.value for s in study.scores("prompt_fidelity") if s.method == "real" and not s.prompt}
    reached, chance = (1 + 0.5 + 1) / 3, (1 + 1 / 2 + 1 / 3) / 3
    assert real == {"prompt_colour": pytest.approx((reached - chance) / (1 - chance))}


def test_what_cannot_be_read_off_real_pictures_is_left_out(tmp_path: Path) -> None:
    study = Study(tmp_path, [RED, RED, RED])
    for i in range(3):
        (tmp_path / "red-cat" / f"{i}.txt").write_text("a green <concept>")
    study.evidence.concept = Concept.open(tmp_path / "red-cat")
    study.evidence.text_encoder = study.encoder
    study.evidence.words = {"colour": ("red", "green", "blue")}
    study.draw("lora", RED)
    assert [(s.metric, s.method) for s in study.scores("prompt_fidelity")] == [("prompt_colour", "real")]


def test_every_picture_is_encoded_once(tmp_path: Path) -> None:
    study = Study(tmp_path, [RED] * 4)
    for seed in range(3):
        study.draw(BASE, GREEN, seed=seed)
        study.draw("lora", GREEN, seed=seed)
        study.draw("lora", GREEN, seed=seed, role="unrelated")
    assert measure(study.evidence)
    assert study.encoder.seen == 4 + 9


@pytest.mark.slow
def test_criteria_are_found_in_the_folder_and_explained_without_torch() -> None:
    assert list(metrics()) == [
        "base_preservation", "ceiling", "centroid_distance", "class_drift", "clip_score", "consistency", "copying",
        "diversity", "leakage", "memorisation", "portability", "prompt_fidelity", "subject_fidelity", "vendi",
    ]  # fmt: skip
    for name, metric in metrics().items():
        assert isinstance(metric, Metric)
        assert metric.name == name
        assert metric.better in ("higher", "lower")
        assert metric.explanation.endswith(".")
    code = "import sys; from triptych.metrics import metrics; metrics(); print('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "False\n"


# ---- over sets of pictures


def test_the_vendi_score_counts_effectively_different_pictures() -> None:
    same, different = np.ones((4, 1), np.float32), np.eye(4, dtype=np.float32)
    assert vendi(same) == pytest.approx(1)
    assert vendi(different) == pytest.approx(4)
    assert vendi(np.repeat(np.eye(2, dtype=np.float32), 3, axis=0)) == pytest.approx(2)  # two kinds, three of each
    odd_one = np.array([[1, 0]] * 3 + [[0, 1]], np.float32)  # paper's entropy by hand: shares 3/4 and 1/4
    assert vendi(odd_one) == pytest.approx(np.exp(-0.75 * np.log(0.75) - 0.25 * np.log(0.25)))


def test_vendi_is_one_value_a_prompt(tmp_path: Path) -> None:
    study = Study(tmp_path, [RED] * 3)
    for seed, colour in enumerate((RED, GREEN, BLUE)):
        study.draw("lora", RED, seed=seed)
        study.draw("lora", colour, seed=seed, prompt="b")
    study.draw("lora", RED, prompt="alone")
    assert [(s.prompt, round(s.value, 5)) for s in study.scores("vendi")] == [("a red cat", 1), ("b", 3)]


def test_centroids_are_compared_without_what_diversity_adds(tmp_path: Path) -> None:
    """Half red and half green pictures: their centroid is (1, 1) / 2, a squared 1/2 from the real red one."""
    study = Study(tmp_path, [RED] * 3)
    for i in range(40):
        study.draw("half", (RED, GREEN)[i % 2], prompt=f"a {i}")
        study.draw("red", RED, prompt=f"a {i}")
    values = {
        name: [s.value for s in study.scores("centroid_distance") if s.method == name] for name in ("half", "red")
    }
    assert np.mean(values["red"]) == pytest.approx(0, abs=1e-6)
    exactly = 0.5 - 0.5 / 39  # pairs of different pictures only
    assert np.mean(values["half"]) == pytest.approx(exactly, abs=1e-6)


def test_consistency_is_likeness_between_prompts_and_not_within(tmp_path: Path) -> None:
    study = Study(tmp_path, [RED] * 3)
    for seed in range(2):
        for prompt, colour in (("a", RED), ("b", RED), ("c", GREEN)):
            study.draw("lora", colour, seed=seed, prompt=prompt)
            study.draw(BASE, (RED, GREEN)[seed], seed=seed, prompt=prompt)
    scores = study.scores("consistency")
    means = {name: np.mean([s.value for s in scores if s.method == name]) for name in ("lora", BASE)}
    assert means["lora"] == pytest.approx(1 / 3)  # of three pairs of prompts one is alike
    assert means[BASE] == pytest.approx(1 / 2)
    assert {s.seed for s in scores} == {None}


def test_pseudo_values_have_the_spread_of_a_mean_over_pairs() -> None:
    """Against the truth: the variance of the mean over pairs across 3000 sets of sixteen prompts."""
    random = np.random.default_rng(0)
    sets = random.normal(0.5, 0.3, (3000, 16, 4))
    values = np.array([pseudo_values(one) for one in sets])
    products = sets @ sets.swapaxes(1, 2)
    pairs = (products.sum((1, 2)) - np.trace(products, axis1=1, axis2=2)) / (16 * 15)
    assert values.mean(axis=1) == pytest.approx(pairs)
    promised = values.var(axis=1, ddof=1).mean() / 16
    assert pairs.var() < promised < 1.15 * pairs.var()  # the jackknife promises rather too little


# ---- against the concept


def test_leakage_is_the_drift_of_the_class_word_towards_the_concept(tmp_path: Path) -> None:
    study = Study(tmp_path, [RED] * 3)
    study.draw(BASE, (255, 255, 0), role="class")
    study.draw("towards", RED, role="class", run=1)
    study.draw("away", GREEN, role="class")
    study.draw("still", (255, 255, 0), role="class")
    study.draw("unpaired", RED, role="class", seed=5)
    told = {s.method: round(s.value, 3) for s in study.scores("leakage")}
    assert told == {BASE: 0, "towards": 0.293, "away": 0, "still": 0}
    drift = {s.method: round(s.value, 3) for s in study.scores("class_drift")}
    assert drift == {BASE: 0, "towards": 0.293, "away": 0.293, "still": 0}


def test_a_picture_given_back_is_a_copy_and_another_of_the_kind_is_none(tmp_path: Path) -> None:
    shades = [RED, (255, 255, 0), GREEN, (0, 255, 255)]
    study = Study(tmp_path, shades)
    train, (held_out,) = (getattr(study.evidence.concept.split(0), part) for part in ("train", "held_out"))
    study.draw("parrot", shades[train[0]])
    study.draw("like", shades[held_out])
    study.draw(BASE, (90, 90, 90))
    assert {s.method: s.value for s in study.scores("copying")} == {"parrot": 1, "like": 0, BASE: 0}


def test_portability_is_measured_where_another_base_drew(tmp_path: Path) -> None:
    study = Study(tmp_path, [RED] * 3)
    study.draw("lora", RED)
    study.draw("lora", GREEN, role="other-base")
    assert study.values("portability") == [0.0]
    del study.drawn[1]
    assert study.scores("portability") == []


def test_a_copy_of_a_training_picture_is_told_from_a_likeness(tmp_path: Path) -> None:
    """One shade was held out of four: a copy is nearer to the three, on their mean, and a likeness to the one."""
    shades = [(255, 0, 0), (255, 110, 0), (255, 0, 110), (255, 110, 110)]
    study = Study(tmp_path, shades)
    train, (held_out,) = (getattr(study.evidence.concept.split(0), part) for part in ("train", "held_out"))
    study.draw("copies", shades[train[0]])
    study.draw("like", shades[held_out])
    values = {s.method: s.value for s in study.scores("memorisation")}
    real = study.evidence.real_features
    assert values["copies"] == pytest.approx(
        (real[list(train)].mean(axis=0) - real[held_out]) @ real[train[0]], abs=1e-5
    )
    assert values["like"] < 0


def test_as_many_training_pictures_count_as_were_held_out() -> None:
    assert _expected_largest(np.arange(6, dtype=np.float32) / 10, 2) == pytest.approx(
        np.mean([max(pair) for pair in combinations(np.arange(6) / 10, 2)])
    )
    assert _expected_largest(np.array([0.2, 0.7], np.float32), 2) == pytest.approx(0.7)


def test_what_the_autoencoder_loses_is_not_held_against_a_drawing(tmp_path: Path) -> None:
    """A base that cannot draw blue: the ceiling is as high as it can reach."""
    shades = [(255, 0, 160), (255, 110, 160), (160, 0, 255), (160, 110, 255)]

    def ceiling(folder: Path, redrawn: list[Image.Image] | None) -> float:
        folder.mkdir()
        study = Study(folder, shades)
        study.evidence.redrawn = redrawn and [[picture] for picture in redrawn]
        return float(np.mean(study.values("ceiling")))

    lossy = ceiling(tmp_path / "lossy", [Image.new("RGB", (8, 8), (red, green, 0)) for red, green, _ in shades])
    assert lossy < ceiling(tmp_path / "lossless", None)


def test_memorisation_looks_at_what_its_own_run_saw(tmp_path: Path) -> None:
    study = Study(tmp_path, [RED, GREEN, BLUE])
    held_out = [study.evidence.concept.split(run).held_out[0] for run in range(3)]
    for run in range(3):
        study.draw("lora", RED, run=run)
    values = [s.value for s in study.scores("memorisation")]
    assert values == pytest.approx([-1.0 if each == 0 else 0.5 for each in held_out], abs=1e-5)


def test_a_drawing_is_held_against_drawings_and_a_scene_against_whole_pictures(tmp_path: Path) -> None:
    """The same disc on another background is as good as itself, unless the background is what is to be learnt."""
    world = World.open(DEMO)
    for kind, same in (("subject", True), ("scene", False)):
        folder = tmp_path / kind
        folder.mkdir()
        for i in range(3):
            composed((215, 45, 45), 0.05 * i, 0.7).save(folder / f"{i}.png")
        pictures = []
        for role in ("concept", "unrelated"):
            composed((50, 105, 220), 0.1, 0.7).save(tmp_path / f"{role}.png")
            pictures.append(Shown("lora", 0, role, "a cat", 0, tmp_path / f"{role}.png", ""))
        evidence = Evidence(Concept.open(folder, kind=kind, class_word="cat"), pictures, Colours(), 64, world=world)
        likeness = evidence.likeness(pictures[:1])[0]
        assert (likeness > 0.999) == same
        whole = evidence.features(pictures[1:])
        assert (whole == evidence.features(pictures[:1])).all() == (not same)
