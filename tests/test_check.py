"""What a check of a folder finds, what a cleaned copy has, and that nothing is found on clean pictures."""

from __future__ import annotations

import io
import json
import random
import shutil
import weakref
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw, ImageFilter, ImageOps
from scipy import ndimage

from tests.drawn import Colours
from tests.plain import call
from triptych.app.conflicts import by_encoder
from triptych.app.session import Session
from triptych.app.strangers import strangers
from triptych.data import checking
from triptych.data.checking import bad, check
from triptych.data.cleaning import clean
from triptych.data.concept import Concept
from triptych.data.concepts import open_concepts
from triptych.data.findings import FAULTS, Finding
from triptych.data.masks import mask_of
from triptych.data.pictures import read_picture
from triptych.errors import TriptychError

SIDE = 128


def figure(seed: int, side: int = SIDE) -> Image.Image:
    """A scene of discs and boxes on a shaded ground, unlike that of every other seed."""
    chance = random.Random(seed)
    ramp = np.linspace(chance.randint(20, 90), chance.randint(150, 230), side)
    grain = np.random.default_rng(seed).normal(0, 4, (side, side, 3))
    ground = ramp[None, :, None] * [chance.uniform(0.5, 1) for _ in range(3)] + grain
    picture = Image.fromarray(ground.clip(0, 255).astype(np.uint8))
    pen = ImageDraw.Draw(picture)
    for _ in range(7):
        x, y, r = chance.randrange(side), chance.randrange(side), chance.randint(side // 12, side // 4)
        shape = pen.ellipse if chance.random() < 0.5 else pen.rectangle
        shape((x - r, y - r, x + r, y + r), fill=tuple(chance.randrange(256) for _ in range(3)))
    return picture


@pytest.fixture
def cat(tmp_path: Path) -> Path:
    place = tmp_path / "cat"
    place.mkdir()
    for i in range(8):
        figure(i).save(place / f"{i}.png")
    return place


def faults(place: Path, name: str | None = None, **words: str) -> set[str]:
    found = check(Concept.open(place, **words), SIDE)
    return {one.fault for one in found if name is None or one.file == name}


def test_clean_pictures_have_no_findings(cat: Path) -> None:
    assert check(Concept.open(cat), SIDE) == []


def as_jpeg(picture: Image.Image, quality: int) -> bytes:
    data = io.BytesIO()
    picture.save(data, "JPEG", quality=quality)
    return data.getvalue()


def padded(picture: Image.Image) -> Image.Image:
    return ImageOps.expand(picture, (0, 16), "black")


SPOILED: dict[str, Callable[[Image.Image], Image.Image]] = {
    "blurred": lambda picture: picture.filter(ImageFilter.GaussianBlur(6)),
    "small": lambda picture: picture.resize((48, 48)),
    "dark": lambda picture: Image.eval(picture, lambda value: value // 10),
    "light": lambda picture: Image.eval(picture, lambda value: 230 + value // 10),
    "wide": lambda picture: picture.crop((0, 0, SIDE, SIDE // 3)).resize((3 * SIDE, SIDE)),
    "bars": padded,
    "empty": lambda picture: Image.new("RGB", picture.size, (90, 120, 60)),
}


@pytest.mark.parametrize("fault", SPOILED)
def test_a_spoiled_picture_is_found(cat: Path, fault: str) -> None:
    SPOILED[fault](figure(99)).save(cat / "bad.png")
    assert fault in faults(cat, "bad.png")
    assert all(one.file == "bad.png" for one in check(Concept.open(cat), SIDE))


NEAR: dict[str, Callable[[Image.Image], Image.Image]] = {
    "scaled": lambda picture: picture.resize((96, 96)),
    "compressed": lambda picture: Image.open(io.BytesIO(as_jpeg(picture, 50))),
    "mirrored": ImageOps.mirror,
    "cropped": lambda picture: picture.crop((2, 2, SIDE - 2, SIDE - 2)),
}


@pytest.mark.parametrize("how", NEAR)
def test_a_near_copy_is_found_and_the_larger_is_kept(cat: Path, how: str) -> None:
    NEAR[how](figure(3)).save(cat / "0-again.png")
    (found,) = [one for one in check(Concept.open(cat), SIDE) if one.fault == "near-copy"]
    assert {found.file, found.said.split()[-1]} == {"0-again.png", "3.png"}
    assert (found.file == "0-again.png") == (how in ("scaled", "cropped"))


def test_files_that_are_not_whole_or_misnamed_are_found(cat: Path) -> None:
    whole = as_jpeg(figure(20), 90)
    (cat / "cut.jpg").write_bytes(whole[: len(whole) // 2])
    (cat / "open.jpg").write_bytes(whole[:-2])
    (cat / "noise.png").write_bytes(random.Random(0).randbytes(500))
    (cat / "misnamed.png").write_bytes(as_jpeg(figure(21), 90))
    (cat / "crushed.jpg").write_bytes(as_jpeg(figure(22), 4))
    (cat / "twice.png").write_bytes((cat / "0.png").read_bytes())
    wanted = {
        "cut.jpg": "truncated", "open.jpg": "truncated", "noise.png": "unreadable", "misnamed.png": "suffix",
        "crushed.jpg": "compressed", "twice.png": "copy",
    }  # fmt: skip
    for name, fault in wanted.items():
        assert fault in faults(cat, name), name


def test_of_a_large_picture_the_blocks_are_those_of_the_file(cat: Path) -> None:
    cloud = ndimage.gaussian_filter(np.random.default_rng(0).normal(128, 700, (400, 2304)), 5)
    wide = Image.fromarray(cloud.clip(0, 255).astype(np.uint8))
    Image.open(io.BytesIO(as_jpeg(wide, 4))).save(cat / "large.png")  # scaled to 2048 pixels, its blocks would not show
    assert "compressed" in faults(cat, "large.png")


def test_only_small_pictures_are_kept_while_a_folder_is_checked(cat: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[weakref.ref[Image.Image]] = []
    alive = []

    def reading(path: Path) -> Image.Image:
        picture = read_picture(path)
        alive.append(sum(each() is not None for each in read))
        read.append(weakref.ref(picture))
        return picture

    monkeypatch.setattr(checking, "read_picture", reading)
    assert checking.check(Concept.open(cat), SIDE) == []
    assert len(alive) == 8 and max(alive) <= 1


def test_what_captions_tell(cat: Path) -> None:
    for i in range(8):
        (cat / f"{i}.txt").write_text(f"a yellow cat {'on a sofa' if i % 2 else 'in the rain'}")
    (found,) = check(Concept.open(cat), SIDE)
    assert found.fault == "trait-in-captions"
    assert "'yellow'" in found.said
    (cat / "3.txt").unlink()
    assert faults(cat, "3.png") == {"no-caption"}
    for i in range(8):
        (cat / f"{i}.txt").write_text("a cat")
    assert faults(cat) == {"same-captions"}


def test_few_pictures_are_said(cat: Path) -> None:
    assert faults(cat, kind="style") == {"few"}


def rows(values: Sequence[Sequence[float]]) -> torch.Tensor:
    return torch.nn.functional.normalize(torch.tensor(values), dim=-1)


def test_a_stranger_is_found_by_features() -> None:
    random_ = np.random.default_rng(0)
    alike = (np.array([1.0, 0, 0, 0]) + random_.normal(0, 0.15, (9, 4))).tolist()
    names = [str(i) for i in range(10)]
    features = rows([*alike, [0.1, 1, 0, 0]])
    assert [one.file for one in strangers(names, features)] == ["9"]
    near = rows([*alike, [1, 0.85, 0, 0]])  # no stranger by its features alone
    assert not list(strangers(names, near))
    assert not list(strangers(names, near, [0.8] * 10))
    assert [one.file for one in strangers(names, near, [*[0.8] * 9, 0.1])] == ["9"]  # a photograph among drawings
    assert [one.fault for one in strangers(names[:9], rows([[1.0, 0, 0, 0]] * 9))] == ["alike"]
    assert not list(strangers(names[:9], rows(alike)))


def test_a_caption_in_conflict_is_found_by_a_text_encoder() -> None:
    colours = {"red": (255, 0, 0), "green": (0, 255, 0), "blue": (0, 0, 255)}
    said = ["red", "green", "blue", "red", "green", "blue", "red", "blue"]
    pictures = [Image.new("RGB", (8, 8), colours[word]) for word in said]
    captions = [f"a {word} thing {i}" for i, word in enumerate(said)]
    names = [str(i) for i in range(8)]
    assert not list(by_encoder(names, pictures, captions, Colours()))
    captions[3] = "a blue thing 3"
    assert [one.file for one in by_encoder(names, pictures, captions, Colours())] == ["3"]


def test_a_cleaned_copy_says_what_it_did_and_has_no_grave_finding(cat: Path, tmp_path: Path) -> None:
    (cat / "twice.png").write_bytes((cat / "0.png").read_bytes())
    padded(figure(30)).save(cat / "padded.png")
    (cat / "padded.txt").write_text("a cat on a wall")
    masks = {"padded_mask.png", "0-masklabel.png"}
    Image.new("L", padded(figure(30)).size, 99).save(cat / "padded_mask.png")
    Image.new("L", (SIDE, SIDE), 99).save(cat / "0-masklabel.png")
    (cat / "misnamed.png").write_bytes(as_jpeg(figure(31), 90))
    SPOILED["blurred"](figure(32)).save(cat / "soft.png")
    before = {path.name: path.read_bytes() for path in cat.iterdir()}
    opened = Concept.open(cat)
    findings = [*check(opened, SIDE), Finding("wrong-caption", "its caption says something else", "1.png")]
    done = clean(opened, findings, tmp_path / "clean-cat")
    assert {path.name: path.read_bytes() for path in cat.iterdir()} == before
    assert done.keys() == before.keys() - {"padded.txt", *masks}
    assert done["soft.png"].startswith("left out: blurred")
    assert done["twice.png"].startswith("left out: the same file as 0.png")
    assert done["1.png"].startswith("caption left out")
    again = Concept.open(tmp_path / "clean-cat")
    assert not bad(check(again, SIDE))
    assert (again.class_word, again.kind) == ("cat", "subject")
    named = {picture.path.name: picture for picture in again.pictures}
    assert named.keys() == {*(f"{i}.png" for i in range(8)), "padded.png", "misnamed.jpg"}
    assert named["padded.png"].caption == "a cat on a wall"
    with Image.open(named["padded.png"].path) as picture:
        assert picture.size == (SIDE, SIDE)
    weighed = {name: mask_of(picture.path) for name, picture in named.items()}
    assert {name for name, mask in weighed.items() if mask} == {"0.png", "padded.png"}
    assert all(mask is None or (mask.size, mask.getextrema()) == ((SIDE, SIDE), (99, 99)) for mask in weighed.values())
    with pytest.raises(TriptychError, match="not empty"):
        clean(opened, findings, tmp_path / "clean-cat")


def test_too_little_left_writes_nothing(cat: Path, tmp_path: Path) -> None:
    opened = Concept.open(cat)
    grave = [Finding("blurred", "blurred", f"{i}.png") for i in range(6)]
    with pytest.raises(TriptychError, match="2 of 8 pictures would be left"):
        clean(opened, grave, tmp_path / "nothing")
    assert not (tmp_path / "nothing").exists()


@pytest.mark.slow
def test_the_command_writes_a_page_and_json(
    cat: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    SPOILED["blurred"](figure(32)).save(cat / "<b>soft.png")
    out, fixed = tmp_path / "out", tmp_path / "fixed"
    assert call(monkeypatch, "check", cat, "--quick", "--json", "--out", out, "--fix", fixed) == 0
    said = json.loads(capsys.readouterr().out)
    assert [(one["file"], one["fault"], one["action"]) for one in said["findings"]] == [
        ("<b>soft.png", "blurred", "left out")
    ]
    assert len(said["usable"]) == 8
    assert len(said["held_out"]) == 2
    page = (out / "check.html").read_text()
    assert "&lt;b&gt;soft.png" in page
    assert FAULTS["blurred"].title in page
    assert "<b>soft.png" not in page
    assert len(list(fixed.glob("*.png"))) == 8


@pytest.mark.slow
def test_every_concept_of_a_folder_is_checked(
    cat: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pets, fixed = tmp_path / "pets", tmp_path / "fixed"
    shutil.copytree(cat, pets / "10_tom cat")
    (pets / "5_rex dog").mkdir()
    for i in range(4):
        figure(20 + i).save(pets / "5_rex dog" / f"{i}.png")
    SPOILED["blurred"](figure(32)).save(pets / "5_rex dog" / "soft.png")
    words = ("--quick", "--json", "--out", tmp_path / "out")
    assert call(monkeypatch, "check", pets, *words, "--fix", fixed) == 0
    cat_found, dog_found = json.loads(capsys.readouterr().out)["concepts"]
    assert (cat_found["folder"], cat_found["findings"]) == ("10_tom cat", [])
    assert [found["file"] for found in dog_found["findings"] if found["fault"] == "blurred"] == ["soft.png"]
    assert sorted(path.parent.name for path in (tmp_path / "out").rglob("check.html")) == ["10_tom cat", "5_rex dog"]
    assert sorted((path.token, len(path.pictures)) for path in open_concepts([fixed])) == [("rex", 4), ("tom", 8)]
    assert call(monkeypatch, "check", pets, *words, "--only", "rex dog") == 0
    assert json.loads(capsys.readouterr().out)["folder"] == "5_rex dog"


@pytest.mark.slow
def test_what_a_check_does_not_use_or_would_overwrite_is_said_before_it_begins(
    cat: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    words = ("--quick", "--base", "demo", "--steps", 3, "--seed", 0, "--text-encoder", "x")
    assert call(monkeypatch, "check", cat, *words) == 0
    told = capsys.readouterr().err
    assert "not used: --base, --text-encoder (--quick opens no base)" in told
    assert "not used: --steps, --seed (without --worth)" in told
    assert call(monkeypatch, "check", cat, "--quick", "--resolution", 64) == 0  # a page of the same folder is replaced
    assert "not used" not in capsys.readouterr().err
    page = Path("triptych-out") / "cat-check" / "check.html"
    before, other = page.read_bytes(), tmp_path / "other" / "cat"
    shutil.copytree(cat, other)
    assert call(monkeypatch, "check", other, "--quick") == 2
    assert f"exists already and is no page of {other}; give another --out" in capsys.readouterr().err
    assert page.read_bytes() == before
    monkeypatch.setattr(Session, "check", None)
    assert call(monkeypatch, "check", cat, "--quick", "--fix", other) == 2
    assert "not empty" in capsys.readouterr().err


def test_too_few_usable_pictures_end_with_2(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    place = tmp_path / "cat"
    place.mkdir()
    for i in range(4):
        SPOILED["empty"](figure(i)).save(place / f"{i}.png") if i else figure(i).save(place / "0.png")
    (place / "1.png").write_bytes((place / "0.png").read_bytes() + b"\0")
    Image.new("RGB", (64, 64), "white").save(place / "5.png")
    assert call(monkeypatch, "check", place, "--quick", "--out", tmp_path / "out") == 2
    assert "too few usable pictures" in capsys.readouterr().err


def test_the_page_has_the_figures_that_were_measured() -> None:
    from benchmarks.junk import table

    docs = Path(__file__).parents[1] / "docs"
    found = json.loads((docs / "datasets" / "junk.json").read_text())
    assert table(found) in (docs / "datasets.md").read_text()
    assert found["false_alarms"] <= 0.05
    wanted = ("copy", "near-copy", "blurred", "truncated", "wrong-caption")
    assert all(found["recall"][fault] >= 0.95 for fault in wanted)


def test_a_mark_in_most_pictures_is_found(cat: Path) -> None:
    for path in list(cat.glob("*.png"))[:7]:
        marked = Image.open(path).convert("RGB")
        ImageDraw.Draw(marked).text((70, 112), "(c) me.com", fill="white")
        marked.save(path)
    (found,) = check(Concept.open(cat), SIDE)
    assert (found.fault, found.file, found.said.endswith("bottom right")) == ("overlay", "", True)
