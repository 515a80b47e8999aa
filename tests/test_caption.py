"""Captions by a tiny random BLIP: written once, never over what is there, with the concept's word."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.plain import call, pictures
from triptych.app.caption import Captioner, caption_folder, named
from triptych.data.concept import Concept
from triptych.errors import TriptychError


@pytest.fixture(scope="module")
def blip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A BLIP of 16 pixels with random weights, whose vocabulary has a few words."""
    import torch
    from transformers import (
        BertTokenizer,
        BlipConfig,
        BlipForConditionalGeneration,
        BlipImageProcessorPil,
        BlipProcessor,
    )  # fmt: skip

    place = tmp_path_factory.mktemp("blip")
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "[DEC]", "a", "cat", "dog", "on", "the", "sofa", "red", "in"]
    (place / "vocab.txt").write_text("\n".join(words))
    size = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    ids = {"pad_token_id": 0, "bos_token_id": 5, "eos_token_id": 3, "sep_token_id": 3}
    config = BlipConfig(
        text_config={**size, "vocab_size": len(words), "max_position_embeddings": 80, "encoder_hidden_size": 16, **ids},
        vision_config={**size, "image_size": 16, "patch_size": 8}, projection_dim=8,
    )  # fmt: skip
    torch.manual_seed(0)
    BlipForConditionalGeneration(config).save_pretrained(place)
    pixels = BlipImageProcessorPil(size={"height": 16, "width": 16})
    BlipProcessor(pixels, BertTokenizer(str(place / "vocab.txt"))).save_pretrained(place)
    return place


@pytest.fixture
def cat(tmp_path: Path) -> Path:
    place = tmp_path / "cat"
    place.mkdir()
    for i, picture in enumerate(pictures(4)):
        picture.save(place / f"{i}.png")
    (place / "1.txt").write_text("mine")
    return place


@pytest.mark.slow
def test_captions_are_written_where_there_are_none(
    cat: Path, blip: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(monkeypatch, "caption", cat, "--model", blip, "--device", "cpu", "--json") == 0
    said = json.loads(capsys.readouterr().out)
    assert said["captions"].keys() == {"0.png", "2.png", "3.png"}
    assert said["notes"] == ["1.png has a caption, which is kept"]
    assert (cat / "1.txt").read_text() == "mine"
    opened = Concept.open(cat)
    for picture in opened.pictures[:1]:
        assert picture.caption == said["captions"]["0.png"]
        assert "<concept> cat" in picture.caption
    again = caption_folder(opened, Captioner(str(blip), "cpu"), overwrite=True)
    assert {name: again.captions[name] for name in said["captions"]} == said["captions"]
    assert (cat / "1.txt").read_text() != "mine"


def test_a_caption_in_a_table_stays(cat: Path, blip: Path) -> None:
    (cat / "metadata.jsonl").write_text('{"file_name": "0.png", "text": "a cat"}')
    written = caption_folder(Concept.open(cat), Captioner(str(blip), "cpu"), overwrite=True)
    assert written.captions.keys() == {"1.png", "2.png", "3.png"}
    assert "0.png has its caption from a table" in written.notes[0]


def test_pictures_of_one_stem_have_files_of_their_own(cat: Path, blip: Path) -> None:
    pictures(1, seed=9)[0].save(cat / "0.bmp")
    caption_folder(Concept.open(cat), Captioner(str(blip), "cpu"))
    assert {path.name for path in cat.glob("0*.txt")} == {"0.bmp.txt", "0.png.txt"}


@pytest.mark.parametrize(
    ("said", "wanted"),
    [
        ("a cat on a Cat", "a <concept> cat on a Cat"), ("a dog", "<concept> cat, a dog"), ("", "<concept> cat"),
        ("a <concept> here", "a <concept> here"), ("a catalogue", "<concept> cat, a catalogue"),
    ],
)  # fmt: skip
def test_where_the_word_goes(cat: Path, said: str, wanted: str) -> None:
    assert named(said, Concept.open(cat)) == wanted


def test_what_is_no_captioner_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TriptychError, match="cannot load"):
        Captioner(str(tmp_path), "cpu")
