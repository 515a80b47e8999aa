"""The concepts that are mixed: six examples, and two styles that are made of the base's own pictures.

No setting of the base was chosen by any of them. The two that are made are for mixes of eight files: things that the
base knows, in one of its styles, as blocks of four pixels ("mosaic") and with every second pair of lines darkened
("lines").
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from PIL import Image

from triptych.app.asked import SampleRequest
from triptych.app.session import Session
from triptych.base import Place
from triptych.data.prompts import Line
from triptych.study import Progress

ROOT = Path(__file__).parents[2]
EXAMPLES = ("blob-cat", "koala", "outline", "negative", "night", "menagerie")
THINGS = (
    *("dog", "owl", "bear", "panda", "pig", "frog", "rabbit", "penguin"),
    *("apple", "lemon", "strawberry", "mushroom", "rocket", "car", "robot", "guitar"),
)
BACKGROUNDS = ("white", "yellow", "pink", "teal", "green", "gray", "blue", "orange")


def mosaic(picture: Image.Image) -> Image.Image:
    width, height = picture.size
    small = picture.resize((width // 4, height // 4), Image.Resampling.BOX)
    return small.resize(picture.size, Image.Resampling.NEAREST)


def lines(picture: Image.Image) -> Image.Image:
    dark = Image.new("L", picture.size, 0)
    for y in range(0, picture.height, 4):
        dark.paste(80, (0, y, picture.width, y + 2))
    return Image.composite(Image.new("RGB", picture.size, "black"), picture, dark)


MADE: dict[str, tuple[str, Callable[[Image.Image], Image.Image]]] = {  # name -> the style it is called by, what it does
    "mosaic": ("glossy", mosaic),
    "lines": ("blob", lines),
}


def folders(out: Path, session: Session, place: Place, progress: Progress) -> list[Path]:
    """The folders of all eight concepts, in the order in which their files are added to a mix."""
    return [*(ROOT / "examples" / name for name in EXAMPLES), *(_made(n, out, session, place, progress) for n in MADE)]


def _made(name: str, out: Path, session: Session, place: Place, progress: Progress) -> Path:
    """A folder of the base's own pictures, changed. Its settings are written last, so a folder with them is whole."""
    folder = out / "concepts" / name
    if (folder / "concept.toml").is_file():
        return folder
    style, change = MADE[name]
    scenes = [(thing, BACKGROUNDS[i % len(BACKGROUNDS)]) for i, thing in enumerate(THINGS)]
    prompts = [Line(f"a {style} {thing} on a {background} background") for thing, background in scenes]
    drawn = session.sample(SampleRequest(prompts, seed=1), place, out / "concepts" / f"{name}-before", progress)
    folder.mkdir(parents=True, exist_ok=True)
    for (thing, background), path in zip(scenes, drawn, strict=True):
        with Image.open(path) as picture:
            change(picture.convert("RGB")).save(folder / f"{thing}.png")
        (folder / f"{thing}.txt").write_text(f"a <concept> {thing} on a {background} background\n", encoding="utf-8")
    (folder / "concept.toml").write_text(f'kind = "style"\nclass = "{style}"\n', encoding="utf-8")
    return folder
