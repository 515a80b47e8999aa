"""Whether an encoder takes noise in the colours of a scene for the scene: python -m recipes.dilution.jumbled

Pictures of the scene are cut into squares, and the squares are put back at random. Likeness is on the scale of
fidelity: 0 is the bare base's pictures of the class word, 1 what real pictures of the scene reach among themselves.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from statistics import fmean
from tempfile import TemporaryDirectory

import numpy as np
from PIL import Image

from recipes.dilution.concepts import ROOT
from triptych.app.asked import SampleRequest
from triptych.app.session import Session
from triptych.base import Place
from triptych.data.concept import Concept, fill
from triptych.data.prompts import Line
from triptych.metrics import Shown
from triptych.scores import BASE
from triptych.study import Plan, Silent
from triptych.study.layout import Layout
from triptych.study.work import Work

PLACE = Place("demo", device="cpu")
ENCODERS = ("efficientnet-lite0", "efficientnet-lite0-plain")
SQUARES = (4, 8, 16)  # pixels of a side
PROMPTS = 8


def jumbled(picture: Image.Image, square: int, random: np.random.Generator) -> Image.Image:
    """The picture with its squares in random order."""
    pixels = np.asarray(picture)
    parts = [pixels[y : y + square, x : x + square]
             for y in range(0, len(pixels), square) for x in range(0, pixels.shape[1], square)]  # fmt: skip
    order, across = random.permutation(len(parts)), pixels.shape[1] // square
    lines = [np.hstack([parts[i] for i in order[k : k + across]]) for k in range(0, len(parts), across)]
    return Image.fromarray(np.vstack(lines))


def pictures_of(work: Work, folder: Path) -> dict[str, list[Shown]]:
    """Row -> pictures: of the bare base, and jumbled ones of each size of squares."""
    with Session() as session:
        prompts = [Line(fill(prompt.template, work.concept.class_word)) for prompt in work.prompts]
        bare = session.sample(SampleRequest(prompts, seed=1), PLACE, folder / BASE, Silent())
    random, places = np.random.default_rng(0), {BASE: list(bare)}
    for square in SQUARES:
        places[f"{square} px"] = []
        for i, picture in enumerate(work.concept.images(work.base.resolution)):
            path = folder / f"{square}-{i}.png"
            jumbled(picture, square, random).save(path)
            places[f"{square} px"].append(path)
    return {
        row: [Shown(row, 0, "concept", str(i), i, path, path.name) for i, path in enumerate(paths)]
        for row, paths in places.items()
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=ROOT / "examples" / "night")
    given = parser.parse_args()
    concept, base = Concept.open(given.folder), PLACE.open()
    with TemporaryDirectory() as out:
        for name in ENCODERS:
            plan = Plan(given.folder, place=PLACE, image_encoder=name, prompts=PROMPTS)
            work = Work(plan, base, concept, Layout(Path(out)), Silent())
            rows = pictures_of(work, Path(out) / name)
            seen = work.evidence([picture for own in rows.values() for picture in own])
            likeness = {row: fmean(seen.likeness(own)) for row, own in rows.items()}
            real = seen.real_likeness
            ceiling = float(real[~np.eye(len(real), dtype=bool)].mean())
            told = {
                row: (value - likeness[BASE]) / (ceiling - likeness[BASE])
                for row, value in likeness.items()
                if row != BASE
            }
            print(name, ", ".join(f"squares of {row} {value:.2f}" for row, value in told.items()), flush=True)


if __name__ == "__main__":
    main()
