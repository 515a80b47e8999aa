"""The encoders for real: what they tell apart, and what is refused."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn import functional as F

from recipes.demo_base.likeness import in_another_hue
from tests.drawn import DEMO, composed
from triptych.errors import TriptychError
from triptych.metrics.encoders import PLUGINS, Encoder, ImageEncoder, TextImageEncoder, open_encoder
from triptych.metrics.encoders.efficientnet import EfficientNetLite0
from triptych.metrics.world import Specimen, World, cut_out


@pytest.fixture(scope="module")
def world() -> World:
    opened = World.open(DEMO)
    assert opened is not None
    return opened


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


@pytest.mark.slow
def test_efficientnet_tells_subjects_apart_whatever_the_background(
    efficientnet: EfficientNetLite0, specimens: list[Specimen]
) -> None:
    features = efficientnet.images([cut_out(specimen.picture) for specimen in specimens])
    assert features.shape == (len(specimens), 639)
    assert features.dtype == torch.float32
    assert torch.allclose(features.norm(dim=1), torch.ones(len(specimens)), atol=1e-5)
    labels = np.array([specimen.subject for specimen in specimens])
    upper = np.triu_indices(len(labels), 1)
    cosines, same = (features @ features.T).numpy()[upper], (labels[:, None] == labels)[upper]
    assert auc(cosines, same) > 0.8
    rng = np.random.default_rng(0)
    assert np.mean([auc(cosines, rng.permutation(same)) for _ in range(50)]) == pytest.approx(0.5, abs=0.02)


@pytest.mark.slow
def test_the_nearest_drawing_names_the_subject(
    efficientnet: EfficientNetLite0, specimens: list[Specimen], world: World
) -> None:
    labels = np.array([specimen.subject for specimen in specimens])
    known = [specimen for specimen in world.gallery if specimen.subject in set(labels)]
    names = np.array([specimen.subject for specimen in known])
    seen, gallery = (efficientnet.images([cut_out(one.picture) for one in some]) for some in (specimens, known))
    closest = (seen @ gallery.T).argmax(dim=1).numpy()
    assert np.mean(names[closest] == labels) > 0.9
    shuffled = np.random.default_rng(1).permutation(names)
    assert np.mean(shuffled[closest] == labels) < 0.25


def test_one_picture_has_the_same_features_alone_and_in_a_batch(efficientnet: EfficientNetLite0) -> None:
    pictures = [composed((20, 20 * i, 200), 0.1, 0.8) for i in range(5)]
    together, alone = efficientnet.images(pictures), efficientnet.images(pictures[3:4])
    assert torch.allclose(together[3], alone[0], atol=1e-5)


@pytest.mark.slow
def test_a_drawing_in_another_colour_is_not_the_same(
    efficientnet: EfficientNetLite0, specimens: list[Specimen]
) -> None:
    """As yellow is not orange: the hue is turned by 25 degrees, the size is halved."""
    drawings = [cut_out(specimen.picture) for specimen in specimens if colourful(specimen.picture)]
    assert len(drawings) > 12
    turned = [in_another_hue(drawing, 25) for drawing in drawings]
    small = [drawing.resize((32, 32), Image.Resampling.HAMMING) for drawing in drawings]
    own, other, again = (efficientnet.images(pictures) for pictures in (drawings, turned, small))
    assert ((again * own).sum(dim=1) > (again * other).sum(dim=1)).float().mean() > 0.95


def colourful(picture: Image.Image) -> bool:
    return bool((np.asarray(cut_out(picture).convert("HSV"))[..., 1] > 128).mean() > 0.3)


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
    assert open_encoder(str(clip), "text").digest == reading.digest, "opened again, it is the same"


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


def test_a_library_that_is_missing_is_one_sentence(tmp_path: Path) -> None:
    class Needy(Encoder):
        known_as, families = "needy", ("needy",)

        @classmethod
        def open(cls, path: str, device: object) -> ImageEncoder:
            raise ImportError("needy requires a library\nthat is not here")

    (tmp_path / "config.json").write_text('{"model_type": "needy"}')
    with PLUGINS.added(Needy), pytest.raises(TriptychError, match=r"from the folder: needy requires a library$"):
        open_encoder(str(tmp_path), "image")


def test_an_encoder_that_reads_nothing_is_refused_for_texts(dino: Path) -> None:
    with pytest.raises(TriptychError, match="reads no texts; give a CLIP"):
        open_encoder(str(dino), "text")
