"""Puts pictures of a study of dilution side by side, to be looked at: python -m recipes.dilution.shown --out OUT

For each kind of file that is there it writes docs/dilution/KIND.png: a block for each concept, a line for each mix.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from PIL import Image, ImageDraw

from recipes.dilution.concepts import ROOT

BLOCKS = {
    "lora": ("blob-cat", "koala"), "others": ("night", "outline"), "dreambooth": ("blob-cat", "koala"),
}  # fmt: skip
KINDS = {"others": "lora"}  # whose study a grid is of, where its name is another
ROWS = ("base", "alone", "average-2", "average-4", "average-8", "sum-2", "sum-4", "sum-8")
ACROSS, GAP, MARGIN = 6, 2, 90  # pictures in a line; pixels between them, and for the names of lines


def sheet(concept: Path, row: str) -> list[Path]:
    """The pictures of the largest sheet of a row."""
    found = [sorted(folder.glob("*.png")) for folder in sorted((concept / "sheets").glob(f"{row}-0-concept-*"))]
    return max(found, key=len, default=[])[:ACROSS]


def grid(concepts: Sequence[Path], to: Path) -> None:
    """One block for each concept, side by side, with the lines of which there are pictures."""
    found = [(row, [sheet(concept, row) for concept in concepts]) for row in ROWS]
    rows = [(row, blocks) for row, blocks in found if any(blocks)]
    first = next(paths[0] for _, blocks in rows for paths in blocks if paths)
    with Image.open(first) as opened:
        side = opened.width + GAP
    width = MARGIN + ACROSS * side + GAP
    page = Image.new("RGB", (len(concepts) * width, len(rows) * side), "white")
    for line, (row, blocks) in enumerate(rows):
        for block, paths in enumerate(blocks):
            ImageDraw.Draw(page).text((block * width + 2, line * side + side // 2 - 6), row, fill="black")
            for place, path in enumerate(paths):
                with Image.open(path) as picture:
                    page.paste(picture, (block * width + MARGIN + place * side, line * side))
    to.parent.mkdir(parents=True, exist_ok=True)
    page.save(to)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="the folder of `python -m recipes.dilution`")
    parser.add_argument("--seed", type=int, default=0, help="of the trainings")
    parser.add_argument("--to", type=Path, default=ROOT / "docs" / "dilution")
    given = parser.parse_args()
    for name, concepts in BLOCKS.items():
        study = given.out / KINDS.get(name, name) / f"study-{given.seed}" / "concepts"
        if study.is_dir():
            grid([study / concept for concept in concepts], given.to / f"{name}.png")
            print(given.to / f"{name}.png")


if __name__ == "__main__":
    main()
