"""What pixels tell of a described world, and prompt fidelity by them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.drawn import BLUE, DEMO, RED, Study, composed
from triptych.data.concept import Concept
from triptych.errors import TriptychError
from triptych.metrics import Evidence
from triptych.metrics.world import Specimen, World, cut_out, mask, place

YELLOW = (250, 250, 20)


@pytest.fixture(scope="module")
def world() -> World:
    opened = World.open(DEMO)
    assert opened is not None
    return opened


@pytest.mark.parametrize(("left", "side", "where", "size"), [
    (0.02, 0.47, "left", "small"), (0.52, 0.47, "right", "small"), (0.26, 0.47, "centre", "small"),
    (0.12, 0.75, "centre", "medium"), (0.02, 0.95, "centre", "large"),
])  # fmt: skip
def test_pixels_tell_background_place_and_size(world: World, left: float, side: float, where: str, size: str) -> None:
    noise = np.random.default_rng(0).normal(0, 4, (64, 64, 3))
    for name, colour in world.backgrounds.items():
        picture = np.asarray(composed(colour, left, side, (250, 250, 20) if name != "yellow" else (0, 0, 0)))
        pixels = np.clip(picture + noise, 0, 255).astype(np.uint8)
        assert (world.background(pixels), place(mask(pixels)), world.size(mask(pixels))) == (name, where, size)


def test_nothing_is_nowhere_and_an_unknown_colour_has_no_name(world: World) -> None:
    plain = np.full((64, 64, 3), (0, 255, 255), np.uint8)
    assert world.background(plain) is None
    assert place(mask(plain)) is None
    assert world.size(mask(plain)) is None
    assert cut_out(Image.fromarray(plain)).getextrema() == ((128, 128),) * 3


def test_a_prompt_is_read_in_whole_words(world: World) -> None:
    asked = world.asked("a small cat on the left on a teal background")
    assert (asked.background, asked.place, asked.size) == ("teal", "left", "small")
    open_ = world.asked("an enlarged cat on a tealish background")
    assert (open_.background, open_.place, open_.size) == (None, None, None)


def test_prompt_fidelity_by_pixels_is_the_share_that_is_there(tmp_path: Path, world: World) -> None:
    study = Study(tmp_path, [RED] * 3)
    for i in range(3):
        composed((140, 140, 140), 0.1, 0.8, (i, 0, 255)).save(tmp_path / "red-cat" / f"{i}.png")
    gallery = (Specimen("sun", composed((140, 140, 140), 0.1, 0.8)),)
    known = World(world.backgrounds, world.background_phrase, world.places, world.sizes, world.sides, gallery)
    study.evidence = Evidence(Concept.open(tmp_path / "red-cat"), study.drawn, study.encoder, 64, world=known)
    prompt = "a small cat on the left on a red background"
    for i, (colour, left, side, figure) in enumerate([
        (world.backgrounds["red"], 0.02, 0.47, BLUE), (world.backgrounds["red"], 0.02, 0.47, (250, 250, 20)),
        (world.backgrounds["teal"], 0.52, 0.47, BLUE), (world.backgrounds["teal"], 0.1, 0.8, (250, 250, 20)),
    ]):  # fmt: skip
        study.draw("lora", RED, seed=i, prompt=prompt)
        composed(colour, left, side, figure).save(study.drawn[-1].path)
    assert study.values("prompt_fidelity") == [1.0, 0.75, 0.5, 0.0]


def test_a_real_picture_is_not_recognised_by_itself(tmp_path: Path, world: World) -> None:
    study = Study(tmp_path, [RED] * 3)
    for i, figure in enumerate([BLUE, (0, 20, 255), YELLOW]):
        composed(world.backgrounds["gray"], 0.1, 0.8, figure).save(tmp_path / "red-cat" / f"{i}.png")
        (tmp_path / "red-cat" / f"{i}.txt").write_text("a <concept> on a gray background")
    gallery = (Specimen("sun", composed((140, 140, 140), 0.1, 0.8, YELLOW)),)
    known = World(world.backgrounds, world.background_phrase, world.places, world.sizes, world.sides, gallery)
    study.evidence = Evidence(Concept.open(tmp_path / "red-cat"), study.drawn, study.encoder, 64, world=known)
    study.draw("lora", RED, prompt="a cat")
    composed(world.backgrounds["red"], 0.1, 0.8, BLUE).save(study.drawn[0].path)
    assert [s.value for s in study.scores("prompt_fidelity") if s.method == "real"] == [1.0, 1.0, 0.5]


@pytest.mark.parametrize(("kind", "values"), [("style", [1.0, 0.5, 0.5]), ("scene", [1.0, 0.0, 1.0])])
def test_a_style_and_a_scene_must_still_show_what_the_prompt_names(
    tmp_path: Path, world: World, kind: str, values: list[float]
) -> None:
    study = Study(tmp_path, [RED] * 3)
    gallery = tuple(
        Specimen(name, composed((140, 140, 140), 0.1, 0.75, figure))
        for name, figure in {"sun": YELLOW, "sea": BLUE}.items()
    )
    known = World(world.backgrounds, world.background_phrase, world.places, world.sizes, world.sides, gallery)
    concept = Concept.open(tmp_path / "red-cat", kind=kind, class_word="noto")
    study.evidence = Evidence(concept, study.drawn, study.encoder, 64, world=known)
    for i, (ground, figure) in enumerate([("red", YELLOW), ("red", BLUE), ("teal", YELLOW)]):
        study.draw("lora", RED, seed=i, prompt="a noto sun on a red background")
        composed(world.backgrounds[ground], 0.1, 0.75, figure).save(study.drawn[-1].path)
    assert study.values("prompt_fidelity") == values


def test_a_base_without_a_world_has_none_and_a_broken_one_is_a_sentence(tmp_path: Path) -> None:
    assert World.open(tmp_path) is None
    (tmp_path / "world.toml").write_text("[backgrounds]\nwhite = 3")
    with pytest.raises(TriptychError, match=r"cannot understand .*world.toml"):
        World.open(tmp_path)
