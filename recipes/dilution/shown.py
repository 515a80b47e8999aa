"""Puts pictures of studies of dilution side by side, to be looked at: python -m recipes.dilution.shown --out OUT

For each kind of file that is there it writes docs/dilution/KIND.png, and for each pair docs/dilution/pair-NAMES.png: a
block for each concept, a line for each mix.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path

from PIL import Image, ImageDraw

from recipes.dilution.concepts import ROOT
from recipes.dilution.pairs import PAIRS

MIXES = ("average-2", "average-4", "average-8", "sum-2", "sum-4", "sum-8", "generation-3")
WAYS = ("average-2", "sum-2", "mix", "in-turn-2", "alternating-2", "beside-joint-lora", "beside-joint-fine-tune",
        "beside-*-word")  # fmt: skip
SUBJECTS, OTHERS = ("blob-cat", "koala"), ("night", "outline")
ACROSS, GAP, MARGIN = 6, 2, 150  # pictures in a line; pixels between them, and for the names of lines


def sheet(concept: Path, row: str) -> list[Path]:
    """The pictures of the largest sheet of a row."""
    found = [sorted(folder.glob("*.png")) for folder in sorted((concept / "sheets").glob(f"{row}-0-concept-*"))]
    return max(found, key=len, default=[])[:ACROSS]


def grid(concepts: Sequence[Path], mixes: Sequence[str], to: Path) -> None:
    """One block for each concept, side by side, with the lines of which there are pictures."""
    found = [(row, [sheet(concept, row) for concept in concepts]) for row in ("base", "alone", *mixes)]
    rows = [(row, blocks) for row, blocks in found if any(blocks)]
    first = next(paths[0] for _, blocks in rows for paths in blocks if paths)
    with Image.open(first) as opened:
        side = opened.width + GAP
    width = MARGIN + ACROSS * side + GAP
    page = Image.new("RGB", (len(concepts) * width, len(rows) * side), "white")
    for line, (row, blocks) in enumerate(rows):
        for block, paths in enumerate(blocks):
            name = row.removeprefix("beside-").replace("*-word", "embeddings")
            ImageDraw.Draw(page).text((block * width + 2, line * side + side // 2 - 6), name, fill="black")
            for place, path in enumerate(paths):
                with Image.open(path) as picture:
                    page.paste(picture, (block * width + MARGIN + place * side, line * side))
    to.parent.mkdir(parents=True, exist_ok=True)
    page.save(to)


def sheets(out: Path, seed: int) -> Iterator[tuple[str, list[Path], Sequence[str]]]:
    """The name of each picture, the folders of its concepts, and its mixes."""
    for name, kind, concepts in (("lora", "lora", SUBJECTS), ("others", "lora", OTHERS),
                                 ("dreambooth", "dreambooth", SUBJECTS)):  # fmt: skip
        yield name, [out / kind / f"study-{seed}" / "concepts" / concept for concept in concepts], MIXES
    for names in PAIRS:
        study = out / "pairs" / f"seed-{seed}" / "-".join(names) / "study"
        yield f"pair-{'-'.join(names)}", [study / "concepts" / name for name in names], WAYS


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="the folder of `python -m recipes.dilution`")
    parser.add_argument("--seed", type=int, default=0, help="of the trainings")
    parser.add_argument("--to", type=Path, default=ROOT / "docs" / "dilution")
    given = parser.parse_args()
    for name, concepts, mixes in sheets(given.out, given.seed):
        if all(concept.is_dir() for concept in concepts):
            grid(concepts, mixes, given.to / f"{name}.png")
            print(given.to / f"{name}.png")


if __name__ == "__main__":
    main()
