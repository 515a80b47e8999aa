"""What pixels tell of a described world, and prompt fidelity by them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw

from tests.drawn import BLUE, DEMO, RED, Study, composed
from triptych.data.concept import Concept
from triptych.errors import TriptychError
from triptych.metrics import Evidence
from triptych.metrics.world import Specimen, World, cut_out, mask, place, silhouette
from triptych.metrics.world import composed as compose
from triptych.scores import BASE

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


def known(world: World, **things: tuple[int, int, int]) -> World:
    """The world with a gallery of discs of these colours."""
    gallery = tuple(Specimen(name, composed((140, 140, 140), 0.1, 0.8, colour)) for name, colour in things.items())
    return World(world.backgrounds, world.background_phrase, world.places, world.sizes, world.sides, gallery)


@pytest.mark.slow
def test_components_are_ranked_and_multiplied(tmp_path: Path, world: World) -> None:
    study = Study(tmp_path, [RED] * 3)
    for i in range(3):
        composed((140, 140, 140), 0.1, 0.8, (i, 0, 255)).save(tmp_path / "red-cat" / f"{i}.png")
    seen = known(world, sun=YELLOW, leaf=(20, 200, 20))
    study.evidence = Evidence(Concept.open(tmp_path / "red-cat"), study.drawn, study.encoder, 64, world=seen)
    prompt = "a small cat on the left on a red background"
    for i, (colour, left, side, figure) in enumerate([
        (world.backgrounds["red"], 0.02, 0.47, BLUE), (world.backgrounds["red"], 0.02, 0.47, YELLOW),
        (world.backgrounds["teal"], 0.52, 0.47, BLUE),
    ]):  # fmt: skip
        study.draw("lora", RED, seed=i, prompt=prompt)
        composed(colour, left, side, figure).save(study.drawn[-1].path)
    for i, ground in enumerate(("red", "teal")):
        study.draw(BASE, RED, seed=i, prompt=f"a cat on a {ground} background")
        composed(world.backgrounds[ground], 0.1, 0.8, BLUE).save(study.drawn[-1].path)
    parts = {
        name: [round(s.value, 2) for s in study.scores("prompt_fidelity") if (s.metric, s.method) == (name, "lora")]
        for name in ("prompt_thing", "prompt_background", "prompt_place", "prompt_size", "prompt_fidelity")
    }
    assert parts["prompt_thing"] == [1.0, 0.0, 1.0]
    assert parts["prompt_background"][:2] == [1.0, 1.0] and parts["prompt_background"][2] < 0.2
    assert (parts["prompt_place"], parts["prompt_size"]) == ([1.0, 1.0, 0.0], [1.0, 1.0, 1.0])
    assert parts["prompt_fidelity"] == [1.0, 0.0, 0.0]
    real = {s.metric: s.value for s in study.scores("prompt_fidelity") if s.method == "real"}
    assert real["prompt_background"] == real["prompt_place"] == real["prompt_size"] == 1.0  # by rendering


def test_a_real_picture_is_not_recognised_by_itself(tmp_path: Path, world: World) -> None:
    study = Study(tmp_path, [RED] * 3)
    for i, figure in enumerate([BLUE, (0, 20, 255), YELLOW]):
        composed(world.backgrounds["gray"], 0.1, 0.8, figure).save(tmp_path / "red-cat" / f"{i}.png")
        (tmp_path / "red-cat" / f"{i}.txt").write_text("a <concept> on a gray background")
    study.evidence = Evidence(
        Concept.open(tmp_path / "red-cat"), study.drawn, study.encoder, 64, world=known(world, sun=YELLOW)
    )
    study.draw("lora", RED, prompt="a cat")
    composed(world.backgrounds["red"], 0.1, 0.8, BLUE).save(study.drawn[0].path)
    [read] = [s.value for s in study.scores("prompt_fidelity") if (s.metric, s.method) == ("prompt_thing", "real")]
    assert read == pytest.approx(1 / 3)  # two of three come first, the third second; chance is 3/4


@pytest.mark.parametrize(("kind", "values"), [("style", [1.0, 0.0, 0.0]), ("scene", [1.0, 0.0, 1.0])])
def test_a_style_and_a_scene_must_still_show_what_the_prompt_names(
    tmp_path: Path, world: World, kind: str, values: list[float]
) -> None:
    study = Study(tmp_path, [RED] * 3)
    concept = Concept.open(tmp_path / "red-cat", kind=kind, class_word="noto")
    seen = known(world, sun=YELLOW, sea=BLUE)
    study.evidence = Evidence(concept, study.drawn, study.encoder, 64, world=seen)
    for method in (BASE, "lora"):
        for i, (ground, figure) in enumerate([("red", YELLOW), ("red", BLUE), ("green", YELLOW)]):
            study.draw(method, RED, seed=i, prompt="a noto sun on a red background")
            shown = YELLOW if method == BASE else figure
            composed(world.backgrounds[ground], 0.1, 0.75, shown).save(study.drawn[-1].path)
    study.evidence.redrawn = [[composed((140, 140, 140), 0.1, 0.75, YELLOW)]] * 3
    told = [s for s in study.scores("prompt_fidelity") if (s.metric, s.method) == ("prompt_fidelity", "lora")]
    assert [round(s.value, 1) for s in told] == values


def test_a_drawing_is_composed_where_the_judge_finds_it(world: World) -> None:
    picture = composed((140, 140, 140), 0.1, 0.7, YELLOW)
    for composition in world.compositions:
        pixels = np.asarray(compose(picture, world.backgrounds["teal"], composition))
        drawn = mask(pixels)
        assert (world.background(pixels), place(drawn)) == ("teal", composition.place)
        assert world.size(drawn) == composition.size


def test_a_shape_is_known_whatever_its_colours(world: World) -> None:
    disc, ring = composed((140, 140, 140), 0.1, 0.8, YELLOW), composed((215, 45, 45), 0.3, 0.5, BLUE)
    ImageDraw.Draw(ring).ellipse((24, 24, 40, 40), fill=(215, 45, 45))
    assert silhouette(disc) == pytest.approx(silhouette(ring), abs=0.4)
    assert silhouette(Image.new("RGB", (64, 64))).sum() == 0


def test_a_base_without_a_world_has_none_and_a_broken_one_is_a_sentence(tmp_path: Path) -> None:
    assert World.open(tmp_path) is None
    (tmp_path / "world.toml").write_text("[backgrounds]\nwhite = 3")
    with pytest.raises(TriptychError, match=r"cannot understand .*world.toml"):
        World.open(tmp_path)
