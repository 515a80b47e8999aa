"""The criteria on planted cases, the encoders for real, and what pixels tell of a described world."""

from __future__ import annotations

import random
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw
from torch.nn import functional as F

from triptych.concept import Concept
from triptych.errors import TriptychError
from triptych.metrics import Drawn, Evidence, Metric, Role, measure, metrics
from triptych.metrics.encoders import EfficientNetLite0, TextImageEncoder, open_encoder
from triptych.metrics.world import Specimen, World, cut_out, mask, nearest, place
from triptych.scores import BASE, Score

if TYPE_CHECKING:
    from collections.abc import Sequence

DEMO = Path(__file__).parents[1] / "src" / "triptych" / "base" / "demo"
RED, GREEN, BLUE = (255, 0, 0), (0, 255, 0), (0, 0, 255)


class Colours:
    """An encoder that sees the mean colour, and reads "red", "green" and "blue"."""

    name = digest = "colours"

    def __init__(self) -> None:
        self.seen = 0

    def images(self, pictures: Sequence[Image.Image]) -> torch.Tensor:
        self.seen += len(pictures)
        return F.normalize(torch.tensor(np.stack([np.asarray(p).mean((0, 1)) for p in pictures])).float(), dim=-1)

    def texts(self, texts: Sequence[str]) -> torch.Tensor:
        return torch.tensor([[float(colour in text) for colour in ("red", "green", "blue")] for text in texts])


class Study:
    """Plain pictures by colour, drawn on request."""

    def __init__(self, folder: Path, real: Sequence[tuple[int, int, int]]) -> None:
        (folder / "red-cat").mkdir()
        for i, colour in enumerate(real):
            Image.new("RGB", (8 + i, 8 + i), colour).save(folder / "red-cat" / f"{i}.png")
        self.folder = folder
        self.drawn: list[Drawn] = []
        self.encoder = Colours()
        self.evidence = Evidence(Concept.open(folder / "red-cat"), self.drawn, self.encoder, 8)

    def draw(
        self,
        method: str,
        colour: tuple[int, int, int],
        *,
        seed: int = 0,
        prompt: str = "a red cat",
        run: int = 0,
        role: Role = "concept",
    ) -> None:
        name = f"{len(self.drawn)}.png"
        Image.new("RGB", (8, 8), colour).save(self.folder / name)
        self.drawn.append(Drawn(method, run, role, prompt, seed, self.folder / name, name))

    def scores(self, name: str) -> list[Score]:
        return list(metrics()[name].measure(self.evidence))

    def values(self, name: str) -> list[float]:
        return [round(score.value, 5) for score in self.scores(name)]


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


def test_the_ceiling_is_leave_one_out(tmp_path: Path) -> None:
    study = Study(tmp_path, [RED, RED, GREEN])
    scores = study.scores("ceiling")
    assert [(score.prompt, score.value) for score in scores] == [("0.png", 0.5), ("1.png", 0.5), ("2.png", 0.0)]
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


def test_base_preservation_pairs_prompt_and_seed_with_the_bare_base(tmp_path: Path) -> None:
    study = Study(tmp_path, [RED] * 3)
    for seed, colour in enumerate((RED, GREEN)):
        study.draw(BASE, colour, seed=seed, prompt="a dog", role="unrelated")
        study.draw("lora", RED, seed=seed, prompt="a dog", run=2, role="unrelated")
    study.draw("lora", RED, seed=7, prompt="a dog", role="unrelated")  # nothing to pair with
    assert [(s.method, s.replicate, s.seed, s.value) for s in study.scores("base_preservation")] == [
        (BASE, 0, 0, 1.0), ("lora", 2, 0, 1.0), (BASE, 0, 1, 1.0), ("lora", 2, 1, 0.0)
    ]  # fmt: skip


def test_prompt_fidelity_by_clip_is_the_cosine_with_the_prompt(tmp_path: Path) -> None:
    study = Study(tmp_path, [RED] * 3)
    study.draw("lora", RED)
    study.draw("lora", GREEN)
    assert study.scores("prompt_fidelity") == []
    study.evidence.text_encoder = study.encoder
    assert study.values("prompt_fidelity") == [1.0, 0.0]


def test_every_picture_is_encoded_once(tmp_path: Path) -> None:
    study = Study(tmp_path, [RED] * 4)
    for seed in range(3):
        study.draw(BASE, GREEN, seed=seed)
        study.draw("lora", GREEN, seed=seed)
        study.draw("lora", GREEN, seed=seed, role="unrelated")
    assert measure(study.evidence)
    assert study.encoder.seen == 4 + 9


def test_criteria_are_found_in_the_folder_and_explained_without_torch() -> None:
    assert list(metrics()) == ["base_preservation", "ceiling", "diversity", "prompt_fidelity", "subject_fidelity"]
    for name, metric in metrics().items():
        assert isinstance(metric, Metric)
        assert metric.name == name
        assert metric.better in ("higher", "lower")
        assert metric.explanation.endswith(".")
    code = "import sys; from triptych.metrics import metrics; metrics(); print('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "False\n"


# ---- a described world


def composed(
    colour: tuple[int, int, int], left: float, side: float, figure: tuple[int, int, int] = (250, 250, 20)
) -> Image.Image:
    """A disc on a plain background; lengths are parts of the picture's side of 64."""
    picture = Image.new("RGB", (64, 64), colour)
    top = 32 - 32 * side
    ImageDraw.Draw(picture).ellipse((64 * left, top, 64 * (left + side), top + 64 * side), fill=figure)
    return picture


@pytest.fixture(scope="module")
def world() -> World:
    opened = World.open(DEMO)
    assert opened is not None
    return opened


@pytest.mark.parametrize(("left", "side", "where", "size"), [
    (0.02, 0.47, "left", "small"), (0.52, 0.47, "right", "small"), (0.26, 0.47, "centre", "small"),
    (0.10, 0.80, "centre", "medium"), (0.02, 0.95, "centre", "large"),
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


def test_a_base_without_a_world_has_none_and_a_broken_one_is_a_sentence(tmp_path: Path) -> None:
    assert World.open(tmp_path) is None
    (tmp_path / "world.toml").write_text("[backgrounds]\nwhite = 3")
    with pytest.raises(TriptychError, match=r"cannot understand .*world.toml"):
        World.open(tmp_path)


# ---- encoders


@pytest.fixture(scope="module")
def efficientnet() -> EfficientNetLite0:
    return EfficientNetLite0()


@pytest.fixture(scope="module")
def specimens(world: World) -> list[Specimen]:
    """Fifteen subjects that are no cats, in all styles, each drawing on a background and of a size of its own."""
    rng = random.Random(0)
    subjects = sorted({specimen.subject for specimen in world.gallery} - {"cat"})[::4][:15]
    recomposed = []
    for specimen in world.gallery:
        if specimen.subject in subjects:
            tile = cut_out(specimen.picture)
            side = rng.choice((30, 50, 60))
            picture = Image.new("RGB", (64, 64), rng.choice(list(world.backgrounds.values())))
            shape = Image.fromarray((np.asarray(tile) != 128).any(axis=-1)).resize((side, side))
            picture.paste(tile.resize((side, side)), (rng.randint(0, 64 - side), (64 - side) // 2), shape)
            recomposed.append(Specimen(specimen.subject, picture))
    return recomposed


def auc(cosines: np.ndarray, same: np.ndarray) -> float:
    """The chance that a pair of the same subject is more alike than a pair of different ones."""
    return float((cosines[same][:, None] > cosines[~same][None]).mean())


def test_efficientnet_tells_subjects_apart_whatever_the_background(
    efficientnet: EfficientNetLite0, specimens: list[Specimen]
) -> None:
    features = efficientnet.images([specimen.picture for specimen in specimens])
    assert features.shape == (len(specimens), 1280)
    assert features.dtype == torch.float32
    assert torch.allclose(features.norm(dim=1), torch.ones(len(specimens)), atol=1e-5)
    labels = np.array([specimen.subject for specimen in specimens])
    upper = np.triu_indices(len(labels), 1)
    cosines, same = (features @ features.T).numpy()[upper], (labels[:, None] == labels)[upper]
    assert auc(cosines, same) > 0.8
    assert auc(cosines, np.random.default_rng(0).permutation(same)) == pytest.approx(0.5, abs=0.06)


def test_the_nearest_drawing_names_the_subject(
    efficientnet: EfficientNetLite0, specimens: list[Specimen], world: World
) -> None:
    labels = [specimen.subject for specimen in specimens]
    known = [specimen for specimen in world.gallery if specimen.subject in set(labels)]
    found = nearest([specimen.picture for specimen in specimens], known, efficientnet)
    assert np.mean([one == other for one, other in zip(found, labels, strict=True)]) > 0.9
    rng = random.Random(1)
    shuffled = rng.sample(known, len(known))
    wrong = [Specimen(one.subject, other.picture) for one, other in zip(known, shuffled, strict=True)]
    by_chance = nearest([specimen.picture for specimen in specimens], wrong, efficientnet)
    assert np.mean([one == other for one, other in zip(by_chance, labels, strict=True)]) < 0.25


def test_one_picture_has_the_same_features_alone_and_in_a_batch(efficientnet: EfficientNetLite0) -> None:
    pictures = [composed((20, 20 * i, 200), 0.1, 0.8) for i in range(5)]
    together, alone = efficientnet.images(pictures), efficientnet.images(pictures[3:4])
    assert torch.allclose(together[3], alone[0], atol=1e-5)


@pytest.fixture(scope="module")
def dino(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from transformers import Dinov2Config, Dinov2Model

    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("dino")
    Dinov2Model(
        Dinov2Config(hidden_size=16, num_hidden_layers=2, num_attention_heads=2, image_size=28)
    ).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny CLIP with letters for words; the end token's id is below that of the letter z, as after adding a token."""
    from transformers import CLIPConfig, CLIPModel, CLIPTokenizer

    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("clip")
    letters = "abcdefghijklmnopqrstuvwxy"
    words = [*letters, *(f"{letter}</w>" for letter in letters), "<|startoftext|>", "<|endoftext|>", "z", "z</w>"]
    CLIPTokenizer(vocab={word: i for i, word in enumerate(words)}, merges=[]).save_pretrained(folder)
    small = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    text = {**small, "vocab_size": len(words), "max_position_embeddings": 12, "eos_token_id": 2}
    vision = {**small, "image_size": 32, "patch_size": 8}
    CLIPModel(CLIPConfig(text_config=text, vision_config=vision, projection_dim=8)).save_pretrained(folder)
    return folder


def test_dino_and_clip_open_from_a_folder(dino: Path, clip: Path) -> None:
    pictures = [composed((20, 20 * i, 200), 0.1, 0.8) for i in range(3)]
    seeing, reading = open_encoder(str(dino), "image"), open_encoder(str(clip), "text")
    assert seeing.images(pictures).shape == (3, 16)
    assert reading.images(pictures).shape == (3, 8)
    assert reading.texts(["a", "b c", "z " * 40]).shape == (3, 8)
    assert isinstance(reading, TextImageEncoder)
    assert not isinstance(seeing, TextImageEncoder)
    assert len({seeing.digest, reading.digest, open_encoder(str(dino), "image").digest}) == 2


def test_the_end_token_is_found_whatever_the_configuration_says(clip: Path, tmp_path: Path) -> None:
    from transformers import AutoTokenizer, CLIPModel

    model = CLIPModel.from_pretrained(clip)
    tokenizer = AutoTokenizer.from_pretrained(clip)
    ids = tokenizer(["a z b"], return_tensors="pt").input_ids
    model.text_model.eos_token_id = tokenizer.eos_token_id  # what a new configuration says
    with torch.inference_mode():
        wanted = F.normalize(model.text_projection(model.text_model(input_ids=ids).pooler_output), dim=-1)
    texts = open_encoder(str(clip), "text").texts(["a z b", "a much longer text"])
    assert torch.allclose(texts[:1], wanted, atol=1e-5)


@pytest.mark.parametrize(("name", "sentence"), [
    ("efficientnet-lite", "no encoder 'efficientnet-lite'.*did you mean 'efficientnet-lite0'"),
    ("{tmp}/empty", "cannot load the encoder .*/empty from the folder"),
    ("{tmp}/other", "is a model of type 'gpt2', not an encoder known here"),
    ("nobody-at-all/nothing-here", "cannot load the encoder nobody-at-all/nothing-here from the model hub"),
])  # fmt: skip
def test_a_bad_encoder_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, sentence: str
) -> None:
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    (tmp_path / "empty").mkdir()
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "config.json").write_text('{"model_type": "gpt2"}')
    with pytest.raises(TriptychError, match=sentence) as caught:
        open_encoder(name.format(tmp=tmp_path), "image")
    assert "\n" not in str(caught.value)


def test_an_encoder_that_reads_nothing_is_refused_for_texts(dino: Path) -> None:
    with pytest.raises(TriptychError, match="reads no texts; give a CLIP"):
        open_encoder(str(dino), "text")
