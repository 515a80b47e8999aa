"""The folder a user gives: what is opened, left out and held out, and how captions become templates."""

import os
import random
import struct
import subprocess
import sys
import warnings
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from triptych.data.concept import Concept, Picture, fill
from triptych.data.notes import lines
from triptych.data.pictures import read_picture
from triptych.errors import Remedy, TriptychError

CAT = "\N{CJK UNIFIED IDEOGRAPH-732B}"


def draw(path: Path, seed: int, size: tuple[int, int] = (20, 12)) -> Path:
    pixels = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), np.uint8)
    Image.fromarray(pixels).save(path)
    return path


def png_claiming(side: int) -> bytes:
    """A file of a few hundred bytes that says it is side x side pixels."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(99))) + chunk(b"IEND", b"")
    )


def concept(digests: list[str], captions: list[str] | None = None, class_word: str = "cat") -> Concept:
    said = captions or [""] * len(digests)
    pictures = tuple(Picture(Path(f"{i}.png"), said[i], digest) for i, digest in enumerate(digests))
    return Concept(pictures, (), "subject", class_word, "<concept>", "cats")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    place = tmp_path / "blob-cat"
    place.mkdir()
    for i in range(4):
        draw(place / f"{i}.png", i)
    return place


def test_a_folder_becomes_a_concept(folder: Path) -> None:
    (folder / "0.txt").write_text("a <concept> on a red sofa\n")
    (folder / "1.caption").write_text("the Cat, asleep")
    (folder / "metadata.jsonl").write_text('{"file_name": "2.png", "prompt": "asleep"}\n\n')
    (folder / "notes.txt").write_bytes(b"\xff not a caption")
    opened = Concept.open(folder)
    assert [picture.path.name for picture in opened.pictures] == ["0.png", "1.png", "2.png", "3.png"]
    assert (opened.kind, opened.class_word, opened.token, opened.name) == ("subject", "cat", "<concept>", "blob-cat")
    assert opened.templates("a {}") == ["a {} on a red sofa", "the {}, asleep", "{}, asleep", "a {}"]
    assert opened.broken == ()
    assert lines(opened.notes) == ["notes.txt: not used: there is no picture of that name"]


@pytest.mark.parametrize(
    ("name", "word"),
    [
        ("30_cat", "cat"),
        ("blob-cat", "cat"),
        ("My Dog2", "dog"),
        ("cats", "cats"),
        ("10_ohwx cat", "cat"),
        ("cat photos", "cat"),
        ("dataset of my cat v2", "cat"),
        (CAT, CAT),
    ],
)
def test_the_class_word_is_the_last_of_the_folder_s_name(folder: Path, name: str, word: str) -> None:
    opened = Concept.open(folder.rename(folder.with_name(name)))
    assert (opened.class_word, opened.class_from) == (word, f"from the folder's name {name!r}")


@pytest.mark.parametrize("name", ["dataset", "img", "train", "photos", "10_images", "my pictures", "x"])
def test_a_name_that_says_nothing_is_no_class_word(folder: Path, name: str) -> None:
    place = folder.rename(folder.with_name(name))
    with pytest.raises(TriptychError, match=f"the name of .*{name} does not say .* class = ") as refused:
        Concept.open(place)
    assert refused.value.remedies == (Remedy.CLASS_WORD,)
    assert Concept.open(place, class_word="train").class_word == "train"
    (place / "concept.toml").write_text('class = "fox"')
    assert Concept.open(place).class_from == "from concept.toml"


def test_what_is_given_goes_before_what_the_folder_says(folder: Path) -> None:
    (folder / "concept.toml").write_text('kind = "style"\nclass = "hot dog"\ntoken = "<snack>"')
    said = Concept.open(folder)
    given_too = Concept.open(folder, kind="scene", class_word="food", token="sks")
    assert (said.kind, said.class_word, said.token) == ("style", "hot dog", "<snack>")
    assert (given_too.kind, given_too.class_word, given_too.token) == ("scene", "food", "sks")


def test_unusable_pictures_are_named_without_a_warning(folder: Path) -> None:
    (folder / "text.png").write_text("hello")
    (folder / "zero.jpg").touch()
    (folder / "truncated.png").write_bytes(draw(folder / "whole.png", 9, (99, 99)).read_bytes()[:2000])
    (folder / "copy.png").write_bytes((folder / "0.png").read_bytes())
    for side in (10_001, 14_000, 60_000):
        (folder / f"bomb{side}.png").write_bytes(png_claiming(side))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        opened = Concept.open(folder)
    reasons = {each.path.name: each.reason for each in opened.broken}
    assert [picture.path.name for picture in opened.pictures] == ["0.png", "1.png", "2.png", "3.png", "whole.png"]
    assert reasons["text.png"] == "not a picture"
    assert reasons["zero.jpg"] == "an empty file"
    assert reasons["copy.png"] == "the same file as 0.png"
    assert "truncated" in reasons["truncated.png"]
    assert all("100 megapixels" in reasons[f"bomb{side}.png"] for side in (10_001, 14_000, 60_000))


def test_pictures_come_upright_on_white_and_square(folder: Path) -> None:
    turned = Image.new("RGB", (40, 20), "red")
    turned.paste("blue", (20, 0, 40, 20))
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees clockwise
    turned.save(folder / "0.png", exif=exif)
    Image.new("RGBA", (10, 10), (255, 0, 0, 0)).save(folder / "1.png")
    Image.fromarray(np.full((8, 8), 32768, np.uint16)).save(folder / "2.png")
    images = Concept.open(folder).images(16)
    assert all(image.size == (16, 16) and image.mode == "RGB" for image in images)
    assert images[0].getpixel((8, 2)) == (255, 0, 0)
    assert images[0].getpixel((8, 13)) == (0, 0, 255)
    assert images[1].getpixel((3, 3)) == (255, 255, 255)
    assert images[2].getpixel((3, 3)) == (128, 128, 128)


def test_the_middle_is_kept(tmp_path: Path) -> None:
    wide = Image.new("RGB", (90, 30), "red")
    wide.paste("green", (30, 0, 60, 30))
    for i in range(3):
        wide.save(tmp_path / f"cat{i}.png", compress_level=i)
    pixels = np.asarray(Concept.open(tmp_path, class_word="cat").images(30)[0])
    assert (pixels == np.asarray(Image.new("RGB", (30, 30), "green"))).all()


def test_the_digest_knows_contents_not_names(folder: Path) -> None:
    before = Concept.open(folder).digest
    renamed = folder.rename(folder.with_name("fat-cat"))
    (renamed / "0.png").rename(renamed / "00.png")
    assert Concept.open(renamed).digest == before
    assert Concept.open(renamed, token="sks").digest != before
    (renamed / "1.txt").write_text("a cat")
    assert Concept.open(renamed).digest != before


@pytest.mark.parametrize(
    ("path", "sentence"),
    [
        ("blob-cta", "there is no folder .*blob-cta; did you mean 'blob-cat'"),
        ("blob-cat/0.png", "is a file; give the folder"),
        ("empty", "there are no pictures in .*; put 3 or more there"),
        ("", "there are no pictures in .*; give its subfolder '42' instead"),
        ("two-cats", r"has 2 usable pictures \(left out: 2.png: not a picture\), but 3 are needed"),
        ("42", "does not say what the pictures show, and there is no concept.toml in it"),
        ("misspelt-cat", "unknown setting 'clas'; did you mean 'class'"),
        ("untyped-cat", "class must be a text in quotation marks"),
        ("broken-cat", "is not valid TOML"),
        ("kindless-cat", "no kind of concept 'subjects'; did you mean 'subject'"),
        ("spaced-cat", "the token 'my cat' is not one word"),
        ("latin-cat", "cannot read .*0.txt as text"),
    ],
)
def test_bad_input_is_one_sentence(folder: Path, path: str, sentence: str) -> None:
    files = {
        "misspelt-cat/concept.toml": b'clas = "cat"',
        "untyped-cat/concept.toml": b"class = 3",
        "broken-cat/concept.toml": b"class = cat",
        "kindless-cat/concept.toml": b'kind = "subjects"',
        "spaced-cat/concept.toml": b'token = "my cat"',
        "latin-cat/0.txt": b"a caf\xe9",
    }
    (folder.parent / "empty").mkdir()
    for name in ["two-cats", "42", *files]:
        place = folder.parent / name.partition("/")[0]
        place.mkdir()
        for i in range(3):
            draw(place / f"{i}.png", i)
        if "/" in name:
            (folder.parent / name).write_bytes(files[name])
    (folder.parent / "two-cats" / "2.png").write_text("hello")
    with pytest.raises(TriptychError, match=sentence) as caught:
        Concept.open(folder.parent / path)
    assert "\n" not in str(caught.value)


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="who may read everything is never refused")
def test_an_unreadable_folder_is_one_sentence(folder: Path) -> None:
    folder.chmod(0)
    with pytest.raises(TriptychError, match="cannot read the folder"):
        Concept.open(folder)
    folder.chmod(0o700)


def test_a_single_unusable_picture_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "note.png").write_text("hello")
    with pytest.raises(TriptychError, match=r"cannot use the picture .*note.png: not a picture"):
        read_picture(tmp_path / "note.png")


digests = st.lists(st.text("0123456789abcdef", min_size=8, max_size=8), min_size=3, max_size=60, unique=True)


@given(digests, st.integers(0, 100), st.randoms(use_true_random=False))
def test_no_picture_both_trains_and_judges(names: list[str], replicate: int, rng: random.Random) -> None:
    n = len(names)
    split = concept(names).split(replicate)
    assert sorted(split.train + split.held_out) == list(range(n))
    assert len(split.held_out) == (min(max(2, n // 4), 8) if n >= 8 else 2 if n >= 6 else 1)
    shuffled = rng.sample(names, n)
    other = concept(shuffled).split(replicate)
    assert {names[i] for i in split.held_out} == {shuffled[i] for i in other.held_out}


@given(digests, st.integers(0, 100))
def test_what_chooses_a_moment_neither_trains_nor_judges(names: list[str], replicate: int) -> None:
    if len(names) < 4:
        with pytest.raises(TriptychError, match="needs 4 pictures or more"):
            concept(names).split(replicate, choose=True)
        return
    plain, split = (concept(names).split(replicate, choose=choose) for choose in (False, True))
    assert split.held_out == plain.held_out
    assert sorted(split.train + split.choose) == list(plain.train)
    assert split.train and len(split.choose) == max(1, len(names) // 6)


@given(digests)
def test_few_pictures_are_held_out_in_turn_and_many_always_the_same(names: list[str]) -> None:
    n = len(names)
    held_out = [concept(names).split(replicate).held_out for replicate in range(n)]
    if n >= 8:
        assert len(set(held_out)) == 1
    else:
        assert {i for fold in held_out for i in fold} == set(range(n))


@pytest.mark.parametrize(
    ("caption", "template"),
    [
        ("<concept> in the snow", "{} in the snow"),
        ("a <concept> cat beside a cat", "a {} beside a cat"),
        ("a photo of a CAT, with cats", "a photo of a {}, with cats"),
        ("concatenated", "{}, concatenated"),
        ("{} and {0} with a cat", "{ } and {0} with a {}"),
        ("<concept> and <concept>", "{} and cat"),
        ("", "the {}"),
    ],
)
def test_the_place_in_a_caption(caption: str, template: str) -> None:
    assert concept(["a", "b", "c"], [caption, "", ""]).templates("the {}")[0] == template


@given(st.text(max_size=40))
def test_any_caption_has_one_place(caption: str) -> None:
    template = concept(["a", "b", "c"], [caption, "", ""]).templates("a {}")[0]
    assert template.count("{}") == 1
    assert "\N{CAT}" in fill(template, "\N{CAT}")


def test_it_is_there_at_once() -> None:
    code = "import sys, triptych.data.concept; print(sorted({'PIL', 'torch', 'numpy'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"
