"""Buckets against centre squares, on pictures whose subject is off their centre: a LoRA for each framing and each seed.

    python -m benchmarks.framings --out docs/datasets/framings.json --pictures docs/datasets/framings.png

The pictures are those of examples/blob-cat that a study trains on, each at one end of a canvas of 3 : 2 or 2 : 1 in
the colour of its background. "square" trains on their centre squares, "bucket" on all of them in buckets, and "whole"
on the pictures before they were put on a canvas. All LoRAs have the same settings, steps and seeds, and sample the
captions of the same held-out pictures with the same seeds. Fidelity is the mean cosine of a sample with the held-out
picture whose caption it has, by the base's image encoder; 0 stands for the bare base, 1 for the held-out pictures
through the autoencoder. The interval of a paired difference is Student's t over seeds.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import statistics
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from PIL import Image
from scipy import stats

from triptych.app.worth import METHOD, Judge, learned
from triptych.base import Base, Place, seed_of
from triptych.cli.console import Console
from triptych.data.concept import Concept, fill
from triptych.data.examples import Examples
from triptych.data.pictures import read_picture
from triptych.exchange.artifact import Part, compose
from triptych.files.atomic import write_text
from triptych.methods import method_named
from triptych.metrics.encoders import open_encoder
from triptych.metrics.world import border_colour
from triptych.options import PictureOptions
from triptych.sampling.generate import sample
from triptych.sampling.request import Request
from triptych.training.fit import Trial
from triptych.training.sharing import joint_passes

EXAMPLE = Path(__file__).parents[1] / "examples" / "blob-cat"
SQUARE = PictureOptions(framing="square")
WAYS = {"square": SQUARE, "bucket": PictureOptions(framing="bucket"), "whole": SQUARE}
RATIOS = (3 / 2, 2.0)
SHOWN = 6  # pictures of each row of the sheet


def training_folder(concept: Concept, place: Path) -> None:
    """The pictures that a study trains on, with their captions and words."""
    place.mkdir(parents=True)
    for i in concept.split(0).train:
        picture = concept.pictures[i]
        shutil.copy(picture.path, place)
        (place / f"{picture.path.stem}.txt").write_text(picture.caption)
    shutil.copy(EXAMPLE / "concept.toml", place)


def put_aside(place: Path, chance: random.Random) -> None:
    """Put each picture of a folder at an end of a longer canvas in the colour of its background."""
    for path in sorted(place.glob("*.png")):
        picture = read_picture(path)
        colour = tuple(int(value) for value in border_colour(np.asarray(picture)))
        side, ratio = picture.width, chance.choice(RATIOS)
        left = top = 0
        width, height = (round(side * ratio), side) if chance.random() < 0.5 else (side, round(side * ratio))
        if chance.random() < 0.5:
            left, top = width - side, height - side
        whole = Image.new("RGB", (width, height), colour)
        whole.paste(picture, (left, top))
        whole.save(path)


def trials_of(base: Base, concept: Concept, way: str, steps: int, seeds: int) -> list[Trial]:
    method = method_named(METHOD)
    settings: Any = method.for_concept(method.configure(base.description.methods.get(METHOD, {})), concept)
    settings = replace(settings, fixed_every=0, **({"steps": steps} if steps else {}))
    examples = Examples.of(base, concept, range(len(concept.pictures)), WAYS[way])
    return [Trial(METHOD, settings, examples, concept.class_word, seed, f"{way}-{seed}") for seed in range(seeds)]


def difference(one: Sequence[float], other: Sequence[float]) -> dict[str, float]:
    """The mean of the paired differences, and half the width of its 95 % interval."""
    pairs = [a - b for a, b in zip(one, other, strict=True)]
    reach = float(stats.t.ppf(0.975, len(pairs) - 1)) * statistics.stdev(pairs) / len(pairs) ** 0.5
    return {"mean": statistics.mean(pairs), "reach": reach}


def samples(base: Base, parts: Sequence[Part], judge: Judge, word: str) -> list[Image.Image]:
    """One sample of each held-out caption with the first part."""
    requests = [Request(fill(prompt, word), (seed_of("framings"),), parts[0].owner) for prompt in judge.prompts]
    with compose(base, *parts):
        return [picture for pictures in sample(base, requests) for picture in pictures]


def sheet(rows: Sequence[Sequence[Image.Image]]) -> Image.Image:
    """Pictures in rows, each within a square of 128 pixels."""
    most = max(len(row[:SHOWN]) for row in rows)
    whole = Image.new("RGB", (most * 132, len(rows) * 132), "white")
    for down, row in enumerate(rows):
        for across, picture in enumerate(row[:SHOWN]):
            fitted = picture.resize([round(side * 128 / max(picture.size)) for side in picture.size])  # type: ignore[arg-type]
            whole.paste(fitted, (across * 132 + 2, down * 132 + 2))
    return whole


def measured(steps: int, seeds: int, temporary: Path, pictures: Path | None) -> dict[str, Any]:
    base, example = Place("demo").open(), Concept.open(EXAMPLE)
    training_folder(example, temporary / "whole")
    training_folder(example, temporary / "aside")
    put_aside(temporary / "aside", random.Random(0))
    folders = {way: Concept.open(temporary / ("whole" if way == "whole" else "aside")) for way in WAYS}
    trials = [trial for way, concept in folders.items() for trial in trials_of(base, concept, way, steps, seeds)]
    encoder = open_encoder(base.description.image_encoder, "image", str(base.device))
    judge = Judge.of(base, example, example.split(0).held_out, encoder)
    with Console() as console:
        passes = list(joint_passes(trials, base.description.sampling.rows))
        trained = [part for parts in learned(base, passes, console) for part in parts]
        values = [value for part in trained for value in judge.values(base, [part], "cat")]
    floor, ceiling = judge.bare(base, "cat"), judge.redrawn(base)
    scores = [(value - floor) / (ceiling - floor) for value in values]
    fidelity = {way: scores[i * seeds : (i + 1) * seeds] for i, way in enumerate(WAYS)}
    if pictures:
        framed = [[one.picture for one in trial.examples.each if one.picture] for trial in trials[::seeds]]
        drawn = [samples(base, [part], judge, "cat") for part in trained[::seeds]]
        sheet([row for pair in zip(framed, drawn, strict=True) for row in pair]).save(pictures)
    return {
        "steps": trials[0].settings.steps, "fidelity": fidelity,
        "bucket_less_square": difference(fidelity["bucket"], fidelity["square"]),
        "bucket_less_whole": difference(fidelity["bucket"], fidelity["whole"]),
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path)
    parser.add_argument(
        "--pictures", type=Path, help="a sheet: for each framing, pictures and samples of the first seed"
    )
    parser.add_argument("--steps", type=int, default=120, help="of each training; 0: the base's own")
    parser.add_argument("--seeds", type=int, default=3)
    given = parser.parse_args()
    with TemporaryDirectory() as temporary:
        text = json.dumps(measured(given.steps, given.seeds, Path(temporary), given.pictures), indent=1)
    if given.out:
        write_text(given.out, text + "\n")
    print(text)


if __name__ == "__main__":
    main()
