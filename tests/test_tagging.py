"""Captions by taggers with random or chosen weights: thresholds, categories, exclusions, and where the word goes."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from tests.plain import call, pictures
from triptych.app.caption import named_tags
from triptych.app.tagging import Tagger, Tagging, is_tagger
from triptych.data.concept import Concept
from triptych.errors import TriptychError

NAMES = ["general", "red_hair", "^_^", "solo", "saber_(fate)"]
LIST = "tag_id,name,category,count\n1,general,9,5\n2,red_hair,0,4\n3,^_^,0,4\n4,solo,0,3\n5,saber_(fate),4,2\n"


@pytest.fixture(scope="module")
def vit(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A ViT of 16 pixels with random weights, but for its last layer, which gives each label its own probability."""
    from transformers import ViTConfig, ViTForImageClassification, ViTImageProcessorPil

    place = tmp_path_factory.mktemp("vit")
    size = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = ViTConfig(**size, image_size=16, patch_size=8, num_labels=5, id2label=dict(enumerate(NAMES)))
    torch.manual_seed(0)
    model = ViTForImageClassification(config)
    with torch.no_grad():
        model.classifier.weight.zero_()
        model.classifier.bias.copy_(torch.logit(torch.tensor([0.99, 0.6, 0.4, 0.9, 0.8])))
    model.save_pretrained(place)
    ViTImageProcessorPil(size={"height": 16, "width": 16}).save_pretrained(place)
    (place / "selected_tags.csv").write_text(LIST)
    return place


@pytest.fixture
def cat(tmp_path: Path) -> Path:
    place = tmp_path / "cat"
    place.mkdir()
    for i, picture in enumerate(pictures(4)):
        picture.save(place / f"{i}.png")
    (place / "1.txt").write_text("mine")
    return place


@pytest.mark.parametrize(
    ("tagging", "wanted"),
    [
        (Tagging(), "solo, red hair, ^_^"),
        (Tagging(least=0.5, least_character=0.7), "saber (fate), solo, red hair"),
        (Tagging(excluded=("red hair", "solo")), "^_^"), (Tagging(excluded=("red_hair",)), "solo, ^_^"),
        (Tagging(least=1.0), ""),
    ],
)  # fmt: skip
def test_thresholds_categories_and_exclusions(vit: Path, tagging: Tagging, wanted: str) -> None:
    assert Tagger(str(vit), "cpu", tagging).captions(pictures(2)) == [wanted] * 2


def test_a_classifier_without_a_list_has_its_own_labels(vit: Path, tmp_path: Path) -> None:
    for path in vit.iterdir():
        if path.suffix != ".csv":
            (tmp_path / path.name).write_bytes(path.read_bytes())
    assert is_tagger(str(tmp_path)) and not is_tagger(str(tmp_path / "nothing"))
    assert Tagger(str(tmp_path), "cpu").captions(pictures(1)) == ["general, solo, saber (fate), red hair, ^_^"]
    (tmp_path / "selected_tags.csv").write_text("name,category\na,0\n")
    with pytest.raises(TriptychError, match="5 labels and a list of 1 tags"):
        Tagger(str(tmp_path), "cpu")
    (tmp_path / "selected_tags.csv").write_text("a,b\n")
    with pytest.raises(TriptychError, match="no list of tags"):
        Tagger(str(tmp_path), "cpu")


def test_the_word_goes_to_the_front(cat: Path) -> None:
    concept = Concept.open(cat)
    assert named_tags("sofa, cat, red hair", concept) == "<concept> cat, sofa, red hair"
    assert named_tags("", concept) == "<concept> cat"


def test_tags_from_the_command_line(
    cat: Path, vit: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["caption", cat, "--model", vit, "--device", "cpu", "--threshold", "0.5", "--exclude", "solo", "--json"]
    assert call(monkeypatch, *words) == 0
    assert json.loads(capsys.readouterr().out)["captions"] == dict.fromkeys(
        ("0.png", "2.png", "3.png"), "<concept> cat, red hair"
    )
    assert (cat / "0.txt").read_text() == "<concept> cat, red hair\n" and (cat / "1.txt").read_text() == "mine"


def test_a_tagger_of_onnx_reads_blue_first_on_white(tmp_path: Path) -> None:
    """Its labels are the channels, the first one twice: sigmoid(x / 100 - 1)."""
    pytest.importorskip("onnxruntime")
    (tmp_path / "model.onnx").write_bytes(network())
    (tmp_path / "selected_tags.csv").write_text("name,category\nblue,0\ngreen,0\nred,0\n")
    tagger = Tagger(str(tmp_path), "cpu", Tagging(least=0.8))
    assert is_tagger(str(tmp_path))
    assert tagger.captions([Image.new("RGB", (20, 20), "red"), Image.new("RGB", (8, 8), "blue")]) == ["red", "blue"]
    wide = tagger.probabilities([Image.new("RGB", (32, 16))])  # half of the square is white
    assert wide == pytest.approx(np.full((1, 3), 1 / (1 + np.exp(-(127.5 / 100 - 1)))), abs=0.05)
    (tmp_path / "model.onnx").write_bytes(b"no network")
    with pytest.raises(TriptychError, match=r"cannot load .* as a tagger"):
        Tagger(str(tmp_path), "cpu")


def network() -> bytes:
    """An ONNX model [n, 16, 16, 3] -> [n, 3] in its wire format: the mean of each channel, scaled, and a sigmoid."""

    def part(number: int, value: bytes | str | int) -> bytes:
        if isinstance(value, int):
            return varint(number << 3) + varint(value)
        data = value.encode() if isinstance(value, str) else value
        return varint(number << 3 | 2) + varint(len(data)) + data

    def node(kind: str, given: tuple[str, ...], to: str, attributes: bytes = b"") -> bytes:
        return part(1, b"".join(part(1, name) for name in given) + part(2, to) + part(4, kind) + attributes)

    def value(name: str, sides: tuple[int, ...]) -> bytes:
        shape = part(1, part(2, "n")) + b"".join(part(1, part(1, side)) for side in sides)
        return part(1, name) + part(2, part(1, part(1, 1) + part(2, shape)))

    def constant(name: str, number: float) -> bytes:
        return part(5, part(1, 1) + part(2, 1) + part(8, name) + part(9, struct.pack("<f", number)))

    axes = part(5, part(1, "axes") + part(8, 1) + part(8, 2) + part(20, 7))
    flat = part(5, part(1, "keepdims") + part(3, 0) + part(20, 2))
    graph = (
        node("ReduceMean", ("x",), "mean", axes + flat) + node("Div", ("mean", "hundred"), "scaled")
        + node("Sub", ("scaled", "one"), "logit") + node("Sigmoid", ("logit",), "y") + part(2, "g")
        + constant("hundred", 100.0) + constant("one", 1.0)
        + part(11, value("x", (16, 16, 3))) + part(12, value("y", (3,)))
    )  # fmt: skip
    return part(1, 8) + part(7, graph) + part(8, part(1, "") + part(2, 13))


def varint(number: int) -> bytes:
    found = b""
    while number > 127:
        found, number = found + bytes([number & 127 | 128]), number >> 7
    return found + bytes([number])
