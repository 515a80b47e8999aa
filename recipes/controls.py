"""The pictures of docs/controls.md: `python -m recipes.controls` samples each control on the embedded base.

A strip shows one control: pictures of one seed, each with what was set beneath it.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw, ImageFont

from triptych.app.sample import generate
from triptych.base import Base, open_base
from triptych.options import FILLS
from triptych.sampling.controls import Controls
from triptych.sampling.generate import sample
from triptych.sampling.image_to_image import Start
from triptych.sampling.outpainting import Extension
from triptych.sampling.preview import Preview
from triptych.sampling.request import Request, Share

OUT = Path("docs/controls")
TILE, GAP, LINE = 128, 6, 13  # pixels of a tile, between tiles, and of a line of text
CAT, PANDA = "a glossy cat on a green background", "a panda on a yellow background"
SCENES = (
    "a cat on a red background", "a cat on a blue background", "a cat on the left on a green background",
    "a cat on a white background", "a cat on a yellow background", "a cat on the right on a grey background",
)  # fmt: skip


@dataclass(frozen=True)
class Cell:
    """One picture: what is written beneath it, its prompt, and what is set."""

    label: str
    prompt: str = CAT
    seed: int = 3
    controls: Mapping[str, Any] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)


def over(label: str, values: Sequence[Any], name: str, **more: Any) -> list[Cell]:
    """A cell for each value of one control."""
    return [Cell(f"{label} {value}", controls={name: value}, **more) for value in values]


STRIPS: Mapping[str, Sequence[Cell]] = {
    "weights": [
        Cell(text, text, 5)
        for text in (
            "a small cat on a green background", "a (small:1.8) cat on a green background",
            "a (small:-1) cat on a green background", "a glossy cat", "a (glossy:0.3) cat",
            "a (noto:0.2) (glossy:1.2) cat",
        )
    ],
    "emphasis": [
        Cell(f"{mode}, (small:2)", "a (small:2) cat on a green background", 5, {"emphasis": mode})
        for mode in ("a1111", "no-norm", "blend", "comfy", "none")
    ],
    "schedules": [
        Cell(text, text, 5)
        for text in (
            "a cat on a blue background", "a [cat:owl:0.7] on a blue background",
            "a [cat:owl:0.4] on a blue background", "a [cat|owl] on a blue background", "a owl on a blue background",
        )
    ],
    "and": [
        Cell(text, text, 5)
        for text in (
            "a cat on a white background", "a cat on a white background AND a red background :0.5",
            "a cat on a white background AND a red background",
        )
    ],
    "variations": [
        Cell(f"strength {share}", seed=3, controls={"variation_seed": 8, "variation_strength": share})
        for share in (0.0, 0.1, 0.3, 0.6, 1.0)
    ],
    "sizes": [
        Cell("64 x 64"), Cell("96 x 64", controls={"width": 96}), Cell("64 x 96", controls={"height": 96}),
        Cell("96 x 64, noise of 64 x 64", controls={"width": 96, "seed_resize": "64x64"}),
        Cell("128 x 128", controls={"width": 128, "height": 128}),
        Cell("128 x 128, shrink 1", controls={"width": 128, "height": 128, "shrink": 1.0}),
    ],
    "samplers": [
        Cell(name, settings={"sampler": name})
        for name in ("dpm++", "dpm++-karras", "euler-a", "dpm++-sde", "dpm++-3m-sde", "unipc")
    ],
    "rescale": [
        Cell(f"cfg {cfg}, rescale {share}", controls={"cfg_rescale": share}, settings={"guidance": cfg})
        for cfg, share in ((3.0, 0.0), (12.0, 0.0), (12.0, 0.7))
    ],
    "pag": over("pag", (0.0, 12.0, 40.0), "pag"),
    "freeu": over("freeu", ("", "1.4,1.6,0.9,0.2", "2,2,0.2,0.2"), "freeu"),
    "clip-skip": over("clip skip", (1, 2, 3), "clip_skip"),
    "edit": [
        Cell("a lion on a green background", "a lion on a green background"),
        *(
            Cell(f"edit to owl, keep {keep}, layout {layout}", "a lion on a green background", controls={
                "edit": "a owl on a green background", "edit_keep": keep, "edit_layout": layout, "edit_only": only,
            })
            for keep, layout, only in ((0.0, 0.0, ""), (0.4, 0.2, ""), (0.8, 0.4, ""))
        ),
        Cell("edit to owl on red, only lion, owl", "a lion on a green background", controls={
            "edit": "a owl on a red background", "edit_only": "lion,owl",
        }),
    ],
    "reweight": [
        Cell(PANDA, PANDA),
        *(
            Cell(f"edit-weights {words}:0", PANDA, controls={"edit": PANDA, "edit_weights": f"{words}:0"})
            for words in ("panda", "panda on a yellow background")
        ),
        Cell("a (panda:0) on a yellow background", "a (panda:0) on a yellow background"),
        Cell("a (panda:0) on a yellow background, emphasis blend", "a (panda:0) on a yellow background",
             controls={"emphasis": "blend"}),
    ],
    "regions-alone": [
        Cell(f"an apple on the left half, a monkey on the right half, region-alone {share}",
             "a green background", 2, {"region_alone": share, "regions": (
                 "0,0,0.5,1: a apple on the left on a green background",
                 "0.5,0,1,1: a monkey on the right on a green background")})
        for share in (0.0, 0.8, 0.9, 1.0)
    ],
    "regions": [
        Cell(f"cat on the left half, owl on the right half, seed {seed}", "a green background", seed, {
            "width": 128,
            "regions": (
                "0,0,0.5,1: a cat on a green background",
                "0.5,0,1,1: a owl on a blue background",
            ),
        })
        for seed in (1, 2)
    ],
    "hires": [
        Cell("64 x 64"),
        *(
            Cell(f"x 2, {by}, shrink {share}", controls={"hires": 2.0, "hires_by": by, "hires_shrink": share})
            for by, share in (("latent", 1.0), ("pixel", 1.0), ("latent", 0.5), ("latent", 0.0))
        ),
    ],
}  # fmt: skip


def sampled(base: Base, cells: Sequence[Cell]) -> list[tuple[str, Image.Image]]:
    found = []
    for cell in cells:
        (picture,) = generate(base, cell.prompt, (cell.seed,), controls=Controls(**cell.controls), **cell.settings)
        found.append((cell.label, picture))
    return found


def from_a_picture(base: Base) -> dict[str, list[tuple[str, Image.Image]]]:
    """Image to image, and inpainting with a mask of the right half."""
    (first,) = generate(base, CAT, (3,))
    prompt, size = "a glossy owl on a green background", first.size
    mask = Image.new("L", size)
    ImageDraw.Draw(mask).rectangle((size[0] // 2, 0, *size), fill=255)

    def made(start: Start, denoise: float) -> Image.Image:
        request = Request(prompt, (4,), start=start)
        return sample(base, [request], controls=Controls(denoise=denoise))[0][0]

    by = Extension(32, 0, 32, 0)

    def grown(fill: str, shrink: float) -> Image.Image:
        start = Start.of(by.canvas(first), by.grown(size), by.mask(size, None, 4), 2, fill)
        controls = Controls(denoise=1.0, width=by.grown(size)[0], height=by.grown(size)[1], shrink=shrink)
        return sample(base, [Request("a green background", (4,), start=start)], controls=controls)[0][0]

    plain = Start.of(first, size)
    swept = [("the picture", first)] + [(f"denoise {share}", made(plain, share)) for share in (0.1, 0.3, 0.5, 0.9)]
    fills = [(f"fill {fill}", made(Start.of(first, size, mask, 2, fill), 0.8)) for fill in FILLS]
    ways = (("original", 0.0), ("original", 1.0), ("blur", 1.0))
    extended = [(f"extended at both sides, fill {fill}, shrink {share:g}", grown(fill, share)) for fill, share in ways]
    return {
        "denoise": swept,
        "inpainting": [("the picture", first), ("the mask", mask.convert("RGB")), *fills],
        "outpainting": [("the picture", first), *extended],
    }


def previews(base: Base) -> list[tuple[str, Image.Image]]:
    """A picture at several steps, as the linear decoder shows it, and as it is at the end."""
    seen: list[tuple[str, Image.Image]] = []

    def watch(preview: Preview) -> None:
        if preview.step in (1, 3, 6, 10, 15, preview.steps):
            seen.append((f"preview, step {preview.step} of {preview.steps}", preview.pictures()[0]))

    (made,) = generate(base, CAT, (3,), watch=watch)
    return [*seen, ("the picture", made)]


def scenes(base: Base) -> dict[str, list[tuple[str, Image.Image]]]:
    """A character in several scenes: each alone, and with shared self-attention."""
    found = {}
    for name, share in (("plain", None), ("shared", Share(subject="cat"))):
        requests = [Request(prompt, (4 * k,), share=share) for k, prompt in enumerate(SCENES)]
        drawn = sample(base, requests)
        found[name] = [(f"{name}: {said}", own[0]) for said, own in zip(SCENES, drawn, strict=True)]
    return found


def stacked(rows: Sequence[Image.Image]) -> Image.Image:
    """Strips below each other."""
    whole = Image.new("RGB", (max(row.width for row in rows), sum(row.height + GAP for row in rows) - GAP), "white")
    y = 0
    for row in rows:
        whole.paste(row, (0, y))
        y += row.height + GAP
    return whole


def strip(cells: Sequence[tuple[str, Image.Image]]) -> Image.Image:
    """Pictures side by side at one height, with a label beneath each."""
    font = ImageFont.load_default(10)
    sizes = [(picture.width * TILE // picture.height, TILE) for _, picture in cells]
    tiles = [picture.resize(size, Image.Resampling.NEAREST) for (_, picture), size in zip(cells, sizes, strict=True)]
    labels = [_folded(label, tile.width, font) for (label, _), tile in zip(cells, tiles, strict=True)]
    height = TILE + GAP + LINE * max(map(len, labels))
    whole = Image.new("RGB", (sum(tile.width + GAP for tile in tiles) - GAP, height), "white")
    pen, x = ImageDraw.Draw(whole), 0
    for tile, lines in zip(tiles, labels, strict=True):
        whole.paste(tile, (x, 0))
        for i, line in enumerate(lines):
            pen.text((x, TILE + GAP // 2 + LINE * i), line, "black", font)
        x += tile.width + GAP
    return whole


def _folded(text: str, width: int, font: Any) -> list[str]:
    """A label in lines that are no longer than its picture."""
    lines = [""]
    for word in text.split():
        longer = f"{lines[-1]} {word}".strip()
        if lines[-1] and font.getlength(longer) > width:
            lines.append(word)
        else:
            lines[-1] = longer
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, default=OUT, help="the folder for the pictures")
    parser.add_argument("--only", nargs="+", default=[], help="names of strips")
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    base = open_base("demo")
    strips = {name: sampled(base, cells) for name, cells in STRIPS.items() if not given.only or name in given.only}
    if not given.only or {"denoise", "inpainting", "outpainting"} & set(given.only):
        strips |= from_a_picture(base)
    if not given.only or "preview" in given.only:
        strips["preview"] = previews(base)
    made = {name: strip(cells) for name, cells in strips.items() if not given.only or name in given.only}
    if not given.only or "scenes" in given.only:
        made["scenes"] = stacked([strip(cells) for cells in scenes(base).values()])
    for name, picture in made.items():
        picture.quantize(128).save(given.out / f"{name}.png", optimize=True)
        print(given.out / f"{name}.png")


if __name__ == "__main__":
    main()
