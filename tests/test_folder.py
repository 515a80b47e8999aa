"""What a folder may hold: pictures of every format, masks, tables of captions; and what is said of the rest."""

from __future__ import annotations

import json
import random
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from PIL import Image, ImageFile

from triptych.data import pictures
from triptych.data.concept import Concept
from triptych.data.folder import A_MASK
from triptych.data.notes import lines
from triptych.data.summary import count, summary
from triptych.errors import TriptychError


def noise(seed: int, size: tuple[int, int] = (24, 16)) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), np.uint8))


@pytest.fixture
def cat(tmp_path: Path) -> Path:
    place = tmp_path / "cat"
    place.mkdir()
    for i in range(3):
        noise(i).save(place / f"{i}.png")
    return place


def used(concept: Concept) -> list[str]:
    return [picture.path.name for picture in concept.pictures]


def said(concept: Concept) -> str:
    return "\n".join(lines((*concept.broken, *concept.notes)))


SAVED = {
    "apng": "PNG", "avif": "AVIF", "bmp": "BMP", "dds": "DDS", "gif": "GIF", "icns": "ICNS", "ico": "ICO", "im": "IM",
    "j2k": "JPEG2000", "jfif": "JPEG", "jp2": "JPEG2000", "jpe": "JPEG", "JPEG": "JPEG", "jpg_large": "JPEG",
    "mpo": "MPO", "pcx": "PCX", "png": "PNG", "ppm": "PPM", "qoi": "QOI", "sgi": "SGI", "tga": "TGA", "tif": "TIFF",
    "webp": "WEBP", "download": "PNG",
}  # fmt: skip


@pytest.mark.parametrize(("suffix", "name"), SAVED.items())
def test_every_picture_that_pillow_opens_is_read(cat: Path, suffix: str, name: str) -> None:
    Image.init()
    if name not in Image.SAVE:
        pytest.skip(f"this Pillow does not write {name}")
    noise(7, (32, 32)).save(cat / f"new.{suffix}", name)
    (cat / "new.txt").write_text("a cat in the rain")
    opened = Concept.open(cat)
    assert used(opened) == ["0.png", "1.png", "2.png", f"new.{suffix}"]
    assert opened.pictures[3].caption == "a cat in the rain"
    assert (opened.broken, opened.notes) == ((), ())


RAMP = np.arange(256, dtype=np.float64).reshape(16, 16) / 255


@pytest.mark.parametrize(
    ("name", "values", "remark"),
    [
        ("16 bits.png", (RAMP * 65535).astype(np.uint16), ""),
        ("16 bits.tif", (RAMP * 65535).astype(np.uint16), ""),
        ("16 bits big.tif", (RAMP * 65535).astype(">u2"), ""),
        ("12 bits.tif", (RAMP * 4095).astype(np.uint16), "4095 is taken for white"),
        ("8 in 16 bits.png", (RAMP * 255).astype(np.uint16), ""),
        ("32 bits.tif", (RAMP * 65535).astype(np.int32), ""),
        ("32 bits wide.tif", (RAMP * 2_000_000).astype(np.int32), "0 to 2e+06, are stretched"),
        ("float.tif", RAMP.astype(np.float32), ""),
        ("float.pfm", RAMP.astype(np.float32), ""),
        ("float to 255.tif", (RAMP * 255).astype(np.float32), ""),
        ("signed float.tif", (RAMP * 8 - 3).astype(np.float32), "-3 to 5, are stretched"),
    ],
)
def test_16_and_32_bits_and_floats_are_scaled(cat: Path, name: str, values: np.ndarray, remark: str) -> None:
    Image.fromarray(values).save(cat / name)
    opened = Concept.open(cat)
    grey = np.asarray(pictures.read_picture(cat / name))[..., 0].astype(float)
    assert np.abs(grey / 255 - RAMP).max() < 1 / 255
    assert [note.reason for note in opened.notes if remark in note.reason] == [n.reason for n in opened.notes]
    assert len(opened.notes) == bool(remark)


def test_what_is_not_finite_is_black_and_no_picture_where_nothing_is(cat: Path) -> None:
    holed = RAMP.astype(np.float32)
    holed[0, 0], holed[15, 15] = np.nan, np.inf
    Image.fromarray(holed).save(cat / "holed.tif")
    Image.fromarray(np.full((4, 4), np.nan, np.float32)).save(cat / "nothing.tif")
    opened = Concept.open(cat)
    pixels = np.asarray(pictures.read_picture(cat / "holed.tif"))
    assert (pixels[0, 0, 0], pixels[15, 15, 0], pixels[15, 14, 0]) == (0, 0, 254)
    assert lines(opened.broken) == ["nothing.tif: none of its values is a finite number"]


def test_lab_and_cmyk_have_their_colours(cat: Path) -> None:
    lab = Image.merge("LAB", [Image.new("L", (8, 8), value) for value in (137, 208, 195)])  # red, in CIELAB
    lab.save(cat / "lab.tif")
    Image.new("RGB", (8, 8), "red").convert("CMYK").save(cat / "cmyk.jpg", quality=95)
    for name in ("lab.tif", "cmyk.jpg"):
        pixel = pictures.read_picture(cat / name).getpixel((4, 4))
        assert np.abs(np.subtract(pixel, (255, 0, 0))).max() < 12, name


def test_of_several_frames_the_first_is_used_and_said(cat: Path) -> None:
    noise(5).save(cat / "moving.gif", save_all=True, append_images=[noise(6)])
    noise(7).save(cat / "pages.tif", save_all=True, append_images=[noise(8), noise(9)])
    told = said(Concept.open(cat))
    assert "moving.gif: only the first of its 2 pictures is used" in told
    assert "pages.tif: only the first of its 3 pictures is used" in told


HEIC = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(64)
JXL = b"\xff\x0a" + bytes(64)


@pytest.mark.parametrize(
    ("name", "data", "module", "package"),
    [
        ("a.heic", HEIC, "pillow_heif", "pillow-heif"), ("phone.jpg", HEIC, "pillow_heif", "pillow-heif"),
        ("a.jxl", JXL, "pillow_jxl", "pillow-jxl-plugin"),
        ("b.jxl", b"\0\0\0\x0cJXL \r\n\x87\n" + bytes(64), "pillow_jxl", "pillow-jxl-plugin"),
    ],
)  # fmt: skip
def test_a_format_whose_plug_in_is_missing_is_said(
    cat: Path, monkeypatch: pytest.MonkeyPatch, name: str, data: bytes, module: str, package: str
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    (cat / name).write_bytes(data)
    assert f"needs a plug-in: pip install {package}" in lines(Concept.open(cat).broken)[0]


def test_a_plug_in_that_is_installed_is_used(cat: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Heif(ImageFile.ImageFile):
        format = "HEIF"

        def _open(self) -> None:
            self._mode, self._size = "RGB", (4, 2)
            self.tile = [ImageFile._Tile("raw", (0, 0, 4, 2), 64, "RGB")]

    plug_in = ModuleType("pillow_heif")
    plug_in.register_heif_opener = (
        lambda: Image.register_open(  # type: ignore[attr-defined]
            "HEIF", Heif, lambda start: start[4:12] == b"ftypheic"
        )
    )
    monkeypatch.setitem(sys.modules, "pillow_heif", plug_in)
    monkeypatch.setattr(Image, "OPEN", dict(Image.OPEN))
    monkeypatch.setattr(Image, "ID", list(Image.ID))
    (cat / "a.heic").write_bytes(HEIC[:28].ljust(64, b"\0") + bytes(range(24)))
    opened = Concept.open(cat)
    assert "a.heic" in used(opened)
    assert pictures.read_picture(cat / "a.heic").getpixel((0, 0)) == (0, 1, 2)


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("a.nef", "a camera's raw file"), ("a.svg", "a vector drawing"), ("a.eps", "a vector drawing"),
        ("a.xcf", "a format that is not read"),
    ],
)  # fmt: skip
def test_pictures_that_are_never_read_are_said(cat: Path, name: str, reason: str) -> None:
    noise(9).save(cat / name, "PNG")  # whatever is in it
    assert reason in lines(Concept.open(cat).broken)[0]


@pytest.mark.parametrize("mask", ["0-masklabel.png", "0_mask.png", "0-mask.webp", "0.mask.png", "0_MASK.PNG"])
def test_masks_are_not_learned_from(cat: Path, mask: str) -> None:
    Image.new("L", (24, 16), 255).save(cat / mask)
    opened = Concept.open(cat)
    assert used(opened) == ["0.png", "1.png", "2.png"]
    assert [(note.path.name, "mask" in note.reason) for note in opened.notes] == [(mask, True)]


@pytest.mark.parametrize("picture", ["carnival_mask.png", "mask.png", "0_unmask.png", "9_mask.png"])
def test_pictures_named_after_no_other_are_no_masks(cat: Path, picture: str) -> None:
    noise(9).save(cat / picture)
    assert picture in used(Concept.open(cat))


NONE, LISTED = "no caption: it is null", "only the first of its 2 captions is used"


@pytest.mark.parametrize(
    ("name", "text", "captions", "told"),
    [
        ("metadata.jsonl", '{"file_name": "0.png", "text": null}', ["", "", ""], f"metadata.jsonl line 1: {NONE}"),
        ("metadata.jsonl", '\n{"file_name": "1.png", "text": ["a fox", "x"]}', ["", "a fox", ""], f"line 2: {LISTED}"),
        ("metadata.jsonl", '{"file_name": "0.png", "text": []}', ["", "", ""], "its list has no text"),
        ("metadata.jsonl", '{"file_name": "0.png", "text": {"a": 1}}', ["", "", ""], "{'a': 1} is no text"),
        ("metadata.jsonl", '{"file_name": "0.png", "text": NaN}', ["", "", ""], "no caption: it is nan"),
        ("metadata.jsonl", '{"file_name": "0.png", "text": "\\ud800 fox"}', ["? fox", "", ""], "? for letters"),
        ("metadata.jsonl", '{"file_name": "0.png", "text": ""}', ["", "", ""], ""),
        ("metadata.jsonl", '{"file_name": "0.png", "text": null, "caption": "a fox"}', ["a fox", "", ""], ""),
        ("metadata.jsonl", '{"file_name": "./2.png", "prompt": "a fox"}', ["", "", "a fox"], ""),
        ("metadata.jsonl", '\ufeff{"image_path": "/data/2.png", "caption": "a fox"}\r\n', ["", "", "a fox"], ""),
        ("metadata.jsonl", '{"file_name": "0.png", "tags": ["fox", "red"]}', ["fox, red", "", ""], ""),
        ("metadata.jsonl", '{"file_name": "more/2.png", "text": "a fox"}', ["", "", ""], "more/2.png lies in another"),
        ("metadata.jsonl", '{"file_name": "7.png", "text": "a fox"}', ["", "", ""], "there is no picture 7.png"),
        ("metadata.jsonl", '{"file_name": "0.png"}', ["", "", ""], "no caption: it has no text"),
        ("metadata.jsonl", '{"text": "a fox"}', ["", "", ""], "line 1: not used: it names no picture"),
        ("metadata.jsonl", '[1]\n{"file_name', ["", "", ""], "line 1, metadata.jsonl line 2: not used: a line is"),
        ("metadata.jsonl", "[" * 100_000, ["", "", ""], "line 1: not used"),
        ("metadata.csv", 'file_name,text\n0.png,"a fox, red"\n./1.png,a dog', ["a fox, red", "a dog", ""], ""),
        ("metadata.csv", "text;file_name\r\na fox;2.png\r\n", ["", "", "a fox"], ""),
        ("metadata.csv", "file_name,text\n0.png\n,a fox", ["", "", ""], "line 2: no caption: it is null"),
        ("metadata.csv", "0.png,a fox\n", ["", "", ""], "metadata.csv: not used: its first line names no column"),
        ("metadata.csv", 'file_name,text\n0.png,"a fox', ["a fox", "", ""], ""),
        ("meta_cap.json", '{"/data/0.png": {"caption": "a fox", "tags": "red, old"}}', ["a fox, red, old", "", ""], ""),
        ("meta_cap.json", '{"2": {"tags": "red"}, "1.png": {}}', ["", "", "red"], "1.png: no caption: it has no text"),
        ("meta_cap.json", '{"0": "a fox"}', ["", "", ""], "what 0 has is no object with a caption"),
        ("meta_cap.json", '[{"caption": "a fox"}]', ["", "", ""], "an object with a key for each picture is wanted"),
        ("meta_lat.json", "{", ["", "", ""], "meta_lat.json: not used: it is no JSON"),
    ],
)
def test_tables_of_captions_are_read_or_said(cat: Path, name: str, text: str, captions: list[str], told: str) -> None:
    (cat / name).write_text(text, encoding="utf-8")
    opened = Concept.open(cat)
    assert [picture.caption for picture in opened.pictures] == captions
    assert told in said(opened)
    assert bool(opened.notes) == bool(told)


def test_what_goes_before_what_is_said(cat: Path) -> None:
    (cat / "metadata.jsonl").write_text('{"file_name": "0.png", "text": "a fox"}\n{"file_name": "0.png", "text": "b"}')
    (cat / "0.txt").write_text("an owl")
    (cat / "1.txt").write_text("an owl")
    (cat / "1.caption").write_text("a dog")
    (cat / "2.png.txt").write_text("a hen")
    (cat / "1.png.txt").write_text("an owl")
    opened = Concept.open(cat)
    assert [picture.caption for picture in opened.pictures] == ["a fox", "an owl", "a hen"]
    assert {note.place for note in opened.notes} == {"metadata.jsonl line 2", "0.txt", "1.caption"}


def test_a_caption_in_utf_16_with_its_mark_is_read(cat: Path) -> None:
    (cat / "0.txt").write_bytes("a caf\N{LATIN SMALL LETTER E WITH ACUTE}".encode("utf-16"))
    assert Concept.open(cat).pictures[0].caption == "a caf\N{LATIN SMALL LETTER E WITH ACUTE}"


def test_what_else_lies_there_is_said_and_the_summary_counts_it(cat: Path) -> None:
    (cat / "more").mkdir()
    noise(5).save(cat / "more" / "a.png")
    (cat / "empty").mkdir()
    (cat / "clip.mp4").write_bytes(b"\0\0\0\x18ftypisom" + bytes(50))
    (cat / "9.txt").write_text("a caption")
    (cat / "0_mask.png").write_bytes((cat / "1.png").read_bytes())
    (cat / "1_mask.png").write_bytes((cat / "1.png").read_bytes())
    (cat / "bad.jpg").write_bytes(b"hello")
    for name in ("README.md", "prompts.txt", ".DS_Store", "Thumbs.db"):
        (cat / name).write_text("a {} on the moon")
    (cat / "gone.png").symlink_to(cat / "nowhere")
    opened = Concept.open(cat)
    assert summary(opened) == [
        "left out: bad.jpg: not a picture",
        f"0_mask.png, 1_mask.png: {A_MASK}",
        "clip.mp4: not used: neither a picture nor a caption",
        "gone.png: not used: neither a file nor a folder that can be opened",
        "more: the picture in it is not used: subfolders are not entered",
        "9.txt: not used: there is no picture of that name",
        "cat: 3 pictures, 1 left out; no captions",
        "class word: 'cat', from the folder's name 'cat'; kind: subject",
    ]
    assert count(opened) == "not used as given: 7 things; see the lines at the start"


# --- some hundred broken folders ------------------------------------------------------------------------------------

Break = Callable[[random.Random, Path], None]


def cut(chance: random.Random, path: Path) -> None:
    path.write_bytes(path.read_bytes()[: chance.randrange(path.stat().st_size)])


def flip(chance: random.Random, path: Path) -> None:
    data = bytearray(path.read_bytes())
    for _ in range(chance.choice((1, 4, 40))):
        data[chance.randrange(len(data))] = chance.randrange(256)
    path.write_bytes(bytes(data))


def splice(chance: random.Random, path: Path) -> None:
    data, at = path.read_bytes(), chance.randrange(path.stat().st_size)
    path.write_bytes(data[:at] + chance.randbytes(chance.randrange(40)) + data[at:])


def other(chance: random.Random, path: Path) -> None:
    path.write_bytes(chance.choice((b"", b"<html></html>", HEIC, JXL, chance.randbytes(99), b"GIF89a", b"P6 9 9 255 ")))


BREAKS: list[Break] = [cut, flip, splice, other]
FORMATS = {"png": "PNG", "jpg": "JPEG", "webp": "WEBP", "gif": "GIF", "tiff": "TIFF", "bmp": "BMP", "jp2": "JPEG2000",
           "avif": "AVIF", "tga": "TGA", "ppm": "PPM", "ico": "ICO", "pcx": "PCX"}  # fmt: skip
NAMES = ["{}", "{} (1)", "{}.copy", "{}-mask", '{}\'s "x"', "\N{CAT}{}", "{}\n", "-{}", "{}" + "y" * 200]
TEXTS = [b"a cat", b"", b"\xef\xbb\xbfa cat", b"\xff\xfea\0", b"caf\xe9", b"\0\0", b"{}" * 999, b"a\r\nb", b"{0} %s"]
ROWS = ['{"file_name": "%s", "text": "a"}', '{"file_name": "%s", "text": [1]}', '{"file_name": 7}', "null", "{", "",
        '{"file_name": "../%s", "text": "a"}', '{"file_name": "%s", "text": "\\ud800"}', '"%s"']  # fmt: skip


def make(place: Path, chance: random.Random) -> None:
    """A folder of three sound pictures and of much that is not."""
    place.mkdir()
    for i in range(3):
        noise(i).save(place / f"{i}.png")
    for i in range(8):
        suffix, form = chance.choice(list(FORMATS.items()))
        path = place / f"{chance.choice(NAMES).format(chance.choice((i, 0)))}.{suffix}"
        noise(10 + i).save(path, form)
        chance.choice(BREAKS)(chance, path)
    stems = [path.stem for path in place.iterdir()] + ["lost"]
    for stem in chance.sample(stems, 3):
        data = chance.choice([text for text in TEXTS if text != b"caf\xe9" or chance.random() < 0.2])
        (place / f"{stem}{chance.choice(('.txt', '.caption'))}").write_bytes(data)
    rows = [chance.choice(ROWS).replace("%s", chance.choice(["0.png", "./1.png", "lost.png"])) for _ in range(3)]
    name = chance.choice(("metadata.jsonl", "metadata.csv", "meta_cap.json", "more.json"))
    (place / name).write_text("\n".join(rows))
    if chance.random() < 0.3:
        (place / f"folder.{chance.choice(('png', 'txt'))}").mkdir()


@pytest.mark.slow
@pytest.mark.parametrize("block", range(8))
def test_a_broken_folder_is_opened_or_refused_and_nothing_is_lost_or_silent(tmp_path: Path, block: int) -> None:
    opened_ones = 0
    for seed in range(block * 15, (block + 1) * 15):
        place = tmp_path / f"cat-{seed}-cat"
        make(place, random.Random(seed))
        before = {path: path.read_bytes() for path in place.iterdir() if path.is_file()}
        try:
            opened = Concept.open(place)
        except TriptychError as error:
            assert "\n" not in str(error)
            assert "as text" in str(error), error  # three sound pictures are there, so only a caption can be to blame
        else:
            opened_ones += 1
            opened.images(8)
            assert set(used(opened)) >= {"0.png", "1.png", "2.png"}
            check_named(place, opened)
            for line in summary(opened):
                assert line.isprintable(), line
            json.dumps(summary(opened))
        assert {path: path.read_bytes() for path in place.iterdir() if path.is_file()} == before
    assert opened_ones > 5


def check_named(place: Path, concept: Concept) -> None:
    """Every file is a picture that is used, a caption that a picture has, or is named in a note."""
    captions = {picture.path.name: picture.caption for picture in concept.pictures}
    named = {note.path for note in (*concept.broken, *concept.notes)}
    for path in (path for path in place.iterdir() if path.is_file() and path not in named):
        if path.name in captions:
            continue
        data = path.read_bytes()
        text = data.decode("utf-16" if data[:2] == b"\xff\xfe" else "utf-8-sig").strip()
        if path.suffix in (".txt", ".caption"):
            mine = [name for name in captions if path.stem in (name, Path(name).stem)]
            mine += [note.path.name for note in concept.broken if path.stem == note.path.stem]
            assert mine and all(captions.get(name, text) == text or not text for name in mine), path
        else:
            assert not text or any(row in text for row in ('"text": "a"', "file_name")), path
