"""Precision and recall of `triptych check` on generated folders.

    python -m benchmarks.junk --out docs/datasets/junk.json --page docs/datasets.md

Clean folders are drawings of the demo base's world, and crops of photographs that scikit-image and scikit-learn ship.
Into a copy of each, one picture of every kind of junk is planted. Folders of the group "choose" served to choose the
limits of `data/quality.py`, `data/alike.py` and `app/check.py`; those of the group "report" give the figures.
"""

from __future__ import annotations

import argparse
import io
import json
import random
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal

import numpy as np
from PIL import Image, ImageDraw, ImageFilter, ImageOps

from triptych.app.check import CheckRequest, check_folder
from triptych.base import Place
from triptych.base.opening.loading import EMBEDDED
from triptych.data import overlay
from triptych.data.findings import FAULTS
from triptych.files.atomic import write_text
from triptych.metrics.world import Specimen, World, border_colour, composed

Group = Literal["choose", "report"]
PHOTOS: dict[Group, tuple[str, ...]] = {
    "choose": ("astronaut.png", "coffee.png", "china.jpg", "brick.png", "motorcycle_left.png", "hubble_deep_field.jpg"),
    "report": ("chelsea.png", "flower.jpg", "rocket.jpg", "camera.png", "gravel.png", "ihc.png", "retina.jpg"),
}
BEGIN, END = "<!-- figures -->", "<!-- end of figures -->"
CLEAN = 12  # pictures of a clean folder
PIXELS = 128  # resolution that folders of photographs are checked for
ROUNDS = 5  # folders of each source with a mark
VISIBLE = 40  # levels between bars or a mark and what lies beside them
MARKS = ("(c) me.com", "2004 07 16", "Studio A")
DRAWN = 64  # resolution that folders of drawings are checked for


@dataclass
class Folder:
    """A generated folder: pictures with captions by name, and what was planted: name -> fault."""

    name: str
    kind: str
    class_word: str
    resolution: int
    pictures: dict[str, tuple[Image.Image, str]] = field(default_factory=dict)
    planted: dict[str, str] = field(default_factory=dict)


Drawn = tuple[Image.Image, str]


class Source:
    """An endless source of pictures with captions, of one subject, style or photograph."""

    def __init__(self, name: str, kind: str, class_word: str, resolution: int) -> None:
        self.name, self.kind, self.class_word, self.resolution = name, kind, class_word, resolution

    def draw(self, chance: random.Random) -> Drawn:
        raise NotImplementedError


class Drawings(Source):
    """Drawings of the world on plain backgrounds: several of one subject, or different subjects of one style."""

    def __init__(self, name: str, kind: str, specimens: Sequence[Specimen], world: World) -> None:
        super().__init__(name, kind, specimens[0].subject if kind == "subject" else name, DRAWN)
        self.specimens, self.world = specimens, world
        grounds = list(world.backgrounds)
        self.left = [(one, ground, how) for one in specimens for ground in grounds for how in world.compositions]

    def draw(self, chance: random.Random) -> Drawn:
        one, ground, how = self.left.pop(chance.randrange(len(self.left)))
        if how.side == 1:  # it fills the picture, so on every background it is nearly the same picture
            self.left = [other for other in self.left if other[0] is not one or other[2] is not how]
        size, place = self.world.sizes[how.size], self.world.places[how.place]
        if place:
            size = ""  # a caption says the place alone, as the base's captions do
        named = "<concept>" if self.kind == "subject" else f"<concept> {one.subject}"
        words = f"a {size} {named} {place} {self.world.background_phrase.format(background=ground)}"
        return composed(one.picture, self.world.backgrounds[ground], how), " ".join(words.split())


class Photograph(Source):
    """Crops of a photograph: as if somebody had photographed one thing several times."""

    def __init__(self, path: Path) -> None:
        super().__init__(path.stem, "subject", path.stem.split("_")[0], PIXELS)
        self.whole = Image.open(path).convert("RGB")
        self.seen: list[tuple[float, float, float]] = []

    def draw(self, chance: random.Random) -> Drawn:
        short = min(self.whole.size)
        for _ in range(200):
            side = chance.uniform(0.5, 0.95) * short
            x, y = chance.uniform(0, self.whole.width - side), chance.uniform(0, self.whole.height - side)
            if all(abs(x - a) + abs(y - b) + abs(side - c) > 0.16 * short for a, b, c in self.seen):
                break
        self.seen.append((x, y, side))
        ratio = chance.choice([1, 1, 4 / 3, 3 / 4])
        width, height = side * min(1, ratio), side * min(1, 1 / ratio)
        crop = self.whole.crop((int(x), int(y), int(x + width), int(y + height)))
        light = chance.uniform(0.8, 1.2)
        pixels = np.asarray(crop, np.float64) * light
        return Image.fromarray(pixels.clip(0, 255).astype(np.uint8)), ""


def sources(group: Group) -> Iterator[Source]:
    """The sources of a group: half of the world's subjects, two of its styles, and its photographs."""
    import skimage.data
    import sklearn.datasets

    world = World.open(EMBEDDED["demo"])
    assert world is not None
    subjects = list(dict.fromkeys(one.subject for one in world.gallery))
    own = subjects[::6] if group == "choose" else subjects[3::6]
    for subject in own:
        specimens = [one for one in world.gallery if one.subject == subject]
        yield Drawings(subject, "subject", specimens[:1], world)
    styles = {subject: [one for one in world.gallery if one.subject == subject] for subject in subjects}
    for row in (0, 1) if group == "choose" else (1, 0):
        half = subjects[::2] if group == "choose" else subjects[1::2]
        yield Drawings(f"style{row}", "style", [styles[s][row] for s in half if len(styles[s]) > row], world)
    places = [Path(module.__file__).parent for module in (skimage.data, sklearn.datasets)]
    for name in PHOTOS[group]:
        found = [path for place in places for path in place.rglob(name)]
        yield Photograph(found[0])


def jpeg(picture: Image.Image, quality: int) -> bytes:
    data = io.BytesIO()
    picture.save(data, "JPEG", quality=quality)
    return data.getvalue()


def near_copy(picture: Image.Image, chance: random.Random) -> Image.Image:
    """The picture as it comes back from a messenger: scaled, compressed, cropped a little, mirrored or lightened."""
    width, height = picture.size
    match chance.randrange(5):
        case 0:
            return picture.resize((round(width * 0.8), round(height * 0.8)), Image.Resampling.BILINEAR).resize(
                (width, height)
            )
        case 1:
            return Image.open(io.BytesIO(jpeg(picture, 60))).convert("RGB")
        case 2:
            cut = max(1, round(0.02 * min(width, height)))
            return ImageOps.crop(picture, cut)
        case 3:
            return ImageOps.mirror(picture)
        case _:
            return Image.eval(picture, lambda value: min(255, int(value * 1.04)))


def barred(picture: Image.Image, chance: random.Random) -> Image.Image:
    bar = round(chance.uniform(0.08, 0.2) * picture.height)
    border = (0, bar) if chance.random() < 0.5 else (bar, 0)
    tone = chance.choice([0, 255])
    if abs(np.median(border_colour(np.asarray(picture))) - tone) < VISIBLE:  # such bars cannot be told from the picture
        tone = 255 - tone
    return ImageOps.expand(picture, border, (tone, tone, tone))


def abreast(pictures: Sequence[Image.Image]) -> Image.Image:
    whole = Image.new("RGB", (sum(one.width for one in pictures), max(one.height for one in pictures)))
    left = 0
    for one in pictures:
        whole.paste(one, (left, 0))
        left += one.width
    return whole


def scaled(picture: Image.Image, shorter: int) -> Image.Image:
    scale = shorter / min(picture.size)
    return picture.resize((round(picture.width * scale), round(picture.height * scale)), Image.Resampling.LANCZOS)


def generated(source: Source, stranger: Source, chance: random.Random) -> tuple[Folder, Folder]:
    """A clean folder, and the same with junk."""
    clean = Folder(source.name, source.kind, source.class_word, source.resolution)
    for i in range(CLEAN):
        clean.pictures[f"{i:02}.png"] = source.draw(chance)
    junk = Folder(**{**vars(clean), "pictures": dict(clean.pictures), "planted": {}})

    def plant(fault: str, picture: Image.Image, caption: str, name: str = "") -> None:
        name = name or f"{fault}.png"
        junk.pictures[name] = picture, caption
        junk.planted[name] = fault

    base, caption = clean.pictures[f"{chance.randrange(CLEAN):02}.png"]
    plant("copy", base, caption, "zz-copy.png")
    base, caption = clean.pictures[f"{chance.randrange(CLEAN):02}.png"]
    plant("near-copy", near_copy(base, chance), caption, "zz-near-copy.png")
    picture, caption = source.draw(chance)
    radius = min(picture.size) * chance.uniform(1 / 28, 1 / 14)
    plant("blurred", picture.filter(ImageFilter.GaussianBlur(radius)), caption)
    picture, caption = source.draw(chance)
    plant("small", scaled(picture, round(source.resolution / chance.uniform(1.6, 4))), caption)
    picture, caption = source.draw(chance)
    plant("compressed", picture, caption, "compressed.jpg")
    picture, caption = source.draw(chance)
    plant("truncated", picture, caption, "truncated.jpg")
    picture, caption = source.draw(chance)
    plant("unreadable", picture, caption)
    picture, caption = source.draw(chance)
    plant("dark", Image.eval(picture, lambda value: int(value * chance.uniform(0.05, 0.2))), caption)
    picture, caption = source.draw(chance)
    pale = chance.uniform(0.05, 0.2)
    plant("light", Image.eval(picture, lambda value: int(255 - (255 - value) * pale)), caption)
    picture, caption = source.draw(chance)
    plant("wide", abreast([scaled(picture, source.resolution)] * 3), caption)
    picture, caption = source.draw(chance)
    plant("bars", barred(picture, chance), caption)
    plant("empty", Image.new("RGB", (source.resolution,) * 2, (120, 90, 60)), caption)
    picture, _ = stranger.draw(chance)
    plant("foreign", scaled(picture, source.resolution), caption)
    picture, caption = source.draw(chance)
    plant("suffix", picture, caption, "suffix.png")
    if isinstance(source, Drawings):
        picture, caption = source.draw(chance)
        wrong = next(c for _, c in iter(lambda: source.draw(chance), None) if differs(c, caption))
        plant("wrong-caption", picture, wrong)
    return clean, junk


def marked(pictures: Sequence[Image.Image], chance: random.Random) -> list[Image.Image]:
    """The pictures with a half transparent mark in a corner, at the same place in each, in white or black."""
    text, tone = chance.choice(MARKS), chance.choice([0, 255])
    left, top = chance.choice([4, 70]), chance.choice([4, 112])
    box = (left, top, left + 54, top + 12)
    usual = np.median([np.asarray(picture.convert("L").resize((PIXELS, PIXELS)).crop(box)) for picture in pictures])
    if abs(usual - tone) < VISIBLE:  # such a mark cannot be told from the pictures
        tone = 255 - tone
    layer = Image.new("RGBA", (PIXELS, PIXELS))
    ImageDraw.Draw(layer).text((left, top), text, fill=(tone, tone, tone, 110))
    layers = [layer.resize(picture.size, Image.Resampling.BICUBIC) for picture in pictures]
    pairs = zip(pictures, layers, strict=True)
    return [Image.alpha_composite(picture.convert("RGBA"), own).convert("RGB") for picture, own in pairs]


def differs(one: str, other: str) -> bool:
    """Whether two captions name different backgrounds."""
    return one.rpartition(" on a ")[2] != other.rpartition(" on a ")[2]


def write(folder: Folder, place: Path, chance: random.Random) -> None:
    place.mkdir(parents=True)
    for name, (picture, caption) in folder.pictures.items():
        path = place / name
        match folder.planted.get(name):
            case "compressed":
                path.write_bytes(jpeg(picture, chance.randint(3, 12)))
            case "truncated":
                data = jpeg(picture, 90)
                path.write_bytes(data[: int(len(data) * chance.uniform(0.4, 0.9))])
            case "unreadable":
                path.write_bytes(chance.randbytes(2000))
            case "suffix":
                path.write_bytes(jpeg(picture, 95))
            case _:
                picture.save(path)
        if caption:
            path.with_suffix(".txt").write_text(caption)


def found_in(folder: Folder, place: Path, base: str) -> dict[str, set[str]]:
    """Name -> faults that the check finds; "" for those of the whole folder."""
    request = CheckRequest.of(
        place, Place(base, resolution=folder.resolution), kind=folder.kind, class_word=folder.class_word
    )
    found: dict[str, set[str]] = {}
    for finding in check_folder(request).findings:
        found.setdefault(finding.file, set()).add(finding.fault)
    return found


SAME = {  # faults that mean the same for a file
    "truncated": {"truncated", "unreadable"}, "unreadable": {"truncated", "unreadable"}, "copy": {"copy", "near-copy"},
    "light": {"light", "empty"}, "dark": {"dark", "empty"},
}  # fmt: skip


TOO = {"foreign": {"wrong-caption"}, "small": {"blurred"}}  # what is true of such a file besides


def measured(group: Group, seed: int, base: str) -> dict[str, Any]:
    chance = random.Random(f"{group} {seed}")
    alarms, alone, planted, hits, wrong = [], Counter[str](), Counter[str](), Counter[str](), Counter[str]()
    every = list(sources(group))
    missed: list[str] = []
    for place, source in enumerate(every):
        strangers = [one for one in every if one.name != source.name and isinstance(one, Photograph)]
        clean, junk = generated(source, chance.choice(strangers), chance)
        with TemporaryDirectory() as temporary:
            for folder in (clean, junk):
                write(folder, Path(temporary) / f"{place}" / ("junk" if folder.planted else "clean"), chance)
            on_clean = found_in(clean, Path(temporary) / f"{place}" / "clean", base)
            on_junk = found_in(junk, Path(temporary) / f"{place}" / "junk", base)
        for name, faults in on_clean.items():
            alone.update(faults)
            alarms += [f"{source.name}/{name}: {', '.join(sorted(faults))}"]
        for name, fault in junk.planted.items():
            planted[fault] += 1
            if on_junk.get(name, set()) & SAME.get(fault, {fault}):
                hits[fault] += 1
            else:
                missed.append(f"{source.name}/{name}")
        for name, faults in on_junk.items():
            right = SAME.get(junk.planted.get(name, ""), {junk.planted.get(name, "")})
            for fault in faults - right - TOO.get(junk.planted.get(name, ""), set()) if name else ():
                wrong[fault] += 1
                missed.append(f"wrong: {source.name}/{name}: {fault}")
    pictures = len(every) * CLEAN
    clean_alarms = sum(not alarm.partition("/")[2].startswith(":") for alarm in alarms)
    return {
        "folders": len(every), "clean_pictures": pictures, "clean_pictures_with_a_finding": clean_alarms,
        "false_alarms": clean_alarms / pictures, "by_fault_on_clean": dict(alone),
        "recall": {fault: hits[fault] / planted[fault] for fault in sorted(planted)},
        "precision": {f: hits[f] / (hits[f] + wrong[f]) for f in sorted(planted) if hits[f] + wrong[f]},
        "marks": marks(group, seed), "planted": dict(sorted(planted.items())), "alarms": alarms, "missed": missed,
    }  # fmt: skip


def marks(group: Group, seed: int) -> dict[str, Any]:
    """Folders of new pictures, in which of them a planted mark is missed, and in which one is found without."""
    missed, false, folders = list[str](), list[str](), 0
    for place in range(seed, seed + ROUNDS):
        for source in sources(group):
            chance = random.Random(f"mark {place} {source.name}")
            pictures = [source.draw(chance)[0] for _ in range(CLEAN)]
            planted = marked(pictures, random.Random(f"{source.name} {place}"))
            folders += 1
            missed += [] if has_mark(planted) else [f"{source.name} {place}"]
            false += [f"{source.name} {place}"] if has_mark(pictures) else []
    return {"folders": folders, "missed": missed, "false": false}


def has_mark(pictures: Sequence[Image.Image]) -> bool:
    return any(True for _ in overlay.look([*map(overlay.small, pictures)]))


def table(found: dict[str, Any]) -> str:
    """The figures as Markdown."""
    share = f"{found['clean_pictures_with_a_finding']} of {found['clean_pictures']} clean pictures"
    lines = [f"False alarms: {share} ({found['false_alarms']:.1%}).", "", "| planted | folders | recall | precision |"]
    lines += ["|---|---|---|---|"]
    for fault, count in found["planted"].items():
        precision = found["precision"].get(fault)
        said = "" if precision is None else f"{precision:.0%}"
        lines.append(f"| {FAULTS[fault].title} | {count} | {found['recall'][fault]:.0%} | {said} |")
    marked, missed, false = found["marks"]["folders"], len(found["marks"]["missed"]), len(found["marks"]["false"])
    right = marked - missed
    lines.append(
        f"| {FAULTS['overlay'].title} | {marked} | {right / marked:.0%} | {right / max(1, right + false):.0%} |"
    )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--page", type=Path, help="a document whose figures are written anew")
    parser.add_argument("--group", choices=list(PHOTOS), default="report")
    parser.add_argument("--base", default="demo")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    found = measured(given.group, given.seed, given.base)
    text = json.dumps(found, indent=1)
    if given.out:
        write_text(given.out, text + "\n")
        if given.page:
            head, _, rest = given.page.read_text(encoding="utf-8").partition(BEGIN)
            write_text(given.page, f"{head}{BEGIN}\n{table(found)}\n{END}{rest.partition(END)[2]}")
    print(text)


if __name__ == "__main__":
    main()
