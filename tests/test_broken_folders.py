"""Hundreds of broken pictures, captions and layouts: none ends in a traceback, and each left-out file is named."""

from __future__ import annotations

import io
import json
import random
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from triptych.data.checking import check
from triptych.data.cleaning import clean
from triptych.data.concept import Concept
from triptych.errors import TriptychError

FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF")
NAMES = ("a", "ä ö", "{}", "<b>x&", "-rf", "x" * 120, "a\tb", "a'b\"c", "10_ohwx cat", "..hidden")


def picture(chance: random.Random) -> Image.Image:
    size = chance.choice([(24, 24), (1, 1), (1, 60), (60, 1), (40, 25)])
    noise = np.random.default_rng(chance.randrange(2**31)).integers(0, 256, (size[1], size[0], 4), np.uint8)
    return Image.fromarray(noise).convert(chance.choice(["RGB", "L", "RGBA", "P", "1", "CMYK", "I", "F", "LA"]))


def encoded(chance: random.Random) -> tuple[bytes, str]:
    """A picture in a format, with the suffix of another format now and then."""
    data, name = io.BytesIO(), chance.choice(FORMATS)
    try:
        picture(chance).save(data, name)
    except (OSError, ValueError):
        picture(chance).convert("RGB").save(data, name)
    return data.getvalue(), "." + chance.choice([name, name, chance.choice(FORMATS)]).lower()


def broken(data: bytes, chance: random.Random) -> bytes:
    match chance.randrange(7):
        case 0:
            return data[: chance.randrange(len(data) + 1)]
        case 1:
            damaged = bytearray(data)
            for _ in range(chance.randint(1, 20)):
                damaged[chance.randrange(len(damaged))] = chance.randrange(256)
            return bytes(damaged)
        case 2:
            return chance.randbytes(chance.randrange(300))
        case 3:
            return data + chance.randbytes(50)
    return data


def caption(chance: random.Random) -> bytes:
    texts = ("a cat", "", "   ", "{}{}", "{a|b|} cat", "<concept>", "cat " * 300, "\N{BLACK HEART SUIT}", "a, b, c")
    odd = (b"\xff\xfe\x00", b"\x00\x00", b"\x80\x81", "a cat".encode("utf-16"))
    return chance.choice(odd) if chance.random() < 0.04 else chance.choice(texts).encode()


def table(chance: random.Random) -> tuple[str, bytes]:
    lines = [
        json.dumps(
            {"file_name": f"{chance.choice(NAMES)}{chance.randrange(9)}.png", "text": chance.choice([None, "x", 1, []])}
        )
        for _ in range(5)
    ]
    text = "\n".join(lines)[: chance.randrange(300)]
    return chance.choice([("metadata.jsonl", text), ("metadata.csv", text), ("meta_cap.json", text)])[0], text.encode()


def written(root: Path, chance: random.Random) -> set[Path]:
    """A folder with broken things, flat or nested. Returns the files that look like pictures."""
    made = set()
    places = [root, *(root / name for name in chance.sample(["10_ohwx cat", "3_dog", "masks", "0_x", "reg"], 2))]
    for place in places if chance.random() < 0.4 else places[:1]:
        place.mkdir(exist_ok=True)
        for i in range(chance.randint(0, 9)):
            data, suffix = encoded(chance)
            path = place / f"{chance.choice(NAMES)}{i}{suffix}"
            path.write_bytes(broken(data, chance))
            made.add(path)
            if chance.random() < 0.5:
                path.with_name(path.name + chance.choice([".txt", ".caption"])).write_bytes(caption(chance))
        if chance.random() < 0.3:
            name, data = table(chance)
            (place / name).write_bytes(data)
        if chance.random() < 0.1:
            (place / "gone.png").symlink_to("nowhere")
        if chance.random() < 0.1:
            (place / "folder.png").mkdir()
    if chance.random() < 0.2:
        (root / "concept.toml").write_bytes(
            chance.choice([b'captions = "file names"', b"x", b'kind = "style"', b"kind = 1"])
        )
    return made


def looked_at(root: Path, made: set[Path], out: Path) -> str:
    """Open, check and clean a folder. Returns how it ended."""
    try:
        concept = Concept.open(root, class_word="cat")
    except TriptychError as error:
        assert str(error).isprintable()
        return "refused"
    used = {one.path for one in concept.pictures}
    told = {note.path for note in (*concept.broken, *concept.notes)}
    for path in made - used:
        assert path in told or path.parent in told or path.name.startswith("."), path
    findings = check(concept, 32)
    names = [*(one.name for one in concept.pictures), *(concept.name_of(note.path) for note in concept.broken)]
    assert len(set(names)) == len(names)
    assert {one.file for one in findings} - {""} <= set(names)
    try:
        done = clean(concept, findings, out)
    except TriptychError:
        return "too little"
    assert done.keys() == set(names)
    assert Concept.open(out).pictures
    return "cleaned"


@pytest.mark.slow
@pytest.mark.parametrize("part", range(4))
def test_nothing_ends_in_a_traceback(tmp_path: Path, part: int) -> None:
    ends = []
    for number in range(40):
        chance = random.Random(f"{part} {number}")
        root = tmp_path / f"cat{number}"
        root.mkdir()
        ends.append(looked_at(root, written(root, chance), tmp_path / f"clean-cat{number}"))
        shutil.rmtree(root)
    assert {"refused", "too little"} <= set(ends)


NUMBERS = (1, 0, -1, "x", None, 1e400, 1e-9)
LISTS: dict[str, Callable[[random.Random], str]] = {
    "a.toml": lambda chance: '[[datasets]]\n[[datasets.subsets]]\nimage_dir = "x"\nnum_repeats = 2\n',
    "a.yaml": lambda chance: "datasets:\n- folder_path: x\n  num_repeats: 2\n",
    "a.json": lambda chance: json.dumps(
        [{"path": "x", "balancing": chance.choice([1, 0, -1, "x", None, 1e400, 1e-9])}]
    ),
}


@pytest.mark.parametrize("name", LISTS)
def test_no_list_ends_in_a_traceback(tmp_path: Path, name: str) -> None:
    (tmp_path / "x").mkdir()
    for i in range(4):
        Image.fromarray(np.random.default_rng(i).integers(0, 256, (20, 20, 3), np.uint8)).save(
            tmp_path / "x" / f"{i}.png"
        )
    ends = set()
    for number in range(60):
        chance = random.Random(number)
        data = bytearray(LISTS[name](chance).encode())
        for _ in range(chance.randint(0, 4)):
            data[chance.randrange(len(data))] = chance.randrange(256)
        (tmp_path / name).write_bytes(data)
        try:
            ends.add(len(Concept.open(tmp_path / name, class_word="cat").pictures))
        except TriptychError as error:
            assert str(error).isprintable()
            ends.add(0)
    assert ends == {0, 4}
