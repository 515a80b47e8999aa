"""What junk costs, what a cleaned copy wins back, and which pictures `--worth` names: LoRAs that share passes.

    python -m benchmarks.junk_costs --out docs/datasets/junk-costs.json --pictures docs/datasets/junk-costs.png

The clean folder has the pictures of examples/blob-cat that a study trains on. The junk folder has twice as many bad
ones beside them: other drawings captioned as the cat, captions that name another background, blurred, tiny and repeated
pictures. The cleaned folder is what `triptych check --fix` makes of it. A LoRA of each folder and seed has the same
settings and steps, and samples the captions of the same held-out pictures with the same seeds. Fidelity is the mean
cosine of a sample with the held-out picture whose caption it has, by the base's image encoder; 0 stands for the bare
base, 1 for the held-out pictures through the autoencoder. The worth is measured on the junk folder as `triptych check
--worth` does, by held-out pictures of its own. With --keep, a run that was stopped goes on after its last whole pass.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from PIL import Image, ImageFilter

from benchmarks.framings import EXAMPLE, difference, samples, sheet, training_folder
from triptych.app.check import CheckRequest, check_folder
from triptych.app.worth import METHOD, Judge, effects, half_trials, learned, random_halves
from triptych.base import Base, Place
from triptych.cli.console import Console
from triptych.data.checking import bad
from triptych.data.cleaning import clean
from triptych.data.concept import Concept
from triptych.data.examples import Examples
from triptych.files.atomic import write_text
from triptych.methods import method_named
from triptych.metrics.encoders import open_encoder
from triptych.metrics.world import World, composed
from triptych.training.fit import Trial
from triptych.training.sharing import joint_passes

STRANGERS, WRONG, BLURRED, TINY, AGAIN = 5, 4, 3, 2, 4
SETS = ("clean", "junk", "cleaned")


def spoil(place: Path, world: World, chance: random.Random) -> None:
    """Put bad pictures beside the good ones."""
    good = sorted(place.glob("*.png"))
    grounds = list(world.backgrounds)

    def add(name: str, picture: Image.Image, caption: str) -> None:
        picture.save(place / f"{name}.png")
        (place / f"{name}.txt").write_text(caption)

    def said(ground: str) -> str:
        return f"a <concept> {world.background_phrase.format(background=ground)}"

    others = [one for one in world.gallery if one.subject not in ("cat", "lion", "bear", "fox")]
    for i, one in enumerate(chance.sample(others, STRANGERS)):
        ground = chance.choice(grounds)
        add(f"z-stranger-{i}", composed(one.picture, world.backgrounds[ground], world.compositions[1]), said(ground))
    for i, path in enumerate(chance.sample(good, WRONG)):
        opened = Image.open(path).convert("RGB")
        true = path.with_suffix(".txt").read_text()
        wrong = chance.choice([ground for ground in grounds if ground not in true])
        opened.putpixel((0, 0), (1 + i, 0, 0))  # another file than the good one, which is taken away
        path.unlink()
        path.with_suffix(".txt").unlink()
        add(f"z-wrong-{i}", opened, said(wrong))
    good = sorted(path for path in good if path.exists())
    for i in range(BLURRED):
        path = chance.choice(good)
        soft = Image.open(path).convert("RGB").filter(ImageFilter.GaussianBlur(5))
        add(f"z-blurred-{i}", soft, path.with_suffix(".txt").read_text())
    for i in range(TINY):
        path = chance.choice(good)
        small = Image.open(path).convert("RGB").resize((20, 20))
        add(f"z-tiny-{i}", small, path.with_suffix(".txt").read_text())
    for i in range(AGAIN):
        again = Image.open(good[0]).convert("RGB")
        again.putpixel((1, i), (9, 9, 9))
        add(f"z-again-{i}", again, good[0].with_suffix(".txt").read_text())


def folders(example: Concept, base: Base, place: Path) -> dict[str, Concept]:
    """The three folders, made where they are not there yet."""
    world = World.open(base.folder) if base.folder else None
    assert world is not None
    if not (place / "cleaned").exists():
        for name in SETS[:2]:
            shutil.rmtree(place / name, ignore_errors=True)
            training_folder(example, place / name)
        spoil(place / "junk", world, random.Random(0))
        checked = check_folder(CheckRequest(Concept.open(place / "junk"), Place("demo")), opened=lambda _: base)
        clean(checked.concept, checked.findings, place / "cleaned")
    return {name: Concept.open(place / name) for name in SETS}


def trials_of(base: Base, concept: Concept, name: str, steps: int, seeds: int) -> list[Trial]:
    method = method_named(METHOD)
    settings: Any = method.for_concept(method.configure(base.description.methods.get(METHOD, {})), concept)
    settings = replace(settings, fixed_every=0, **({"steps": steps} if steps else {}))
    examples = Examples.of(base, concept, range(len(concept.pictures)))
    return [Trial(METHOD, settings, examples, concept.class_word, seed, f"{name}-{seed}") for seed in range(seeds)]


def fidelities(base: Base, trials: Sequence[Trial], judge: Judge, place: Path, console: Console) -> list[float]:
    """The fidelity of each trial. The values and a row of samples of each are kept in `place`, pass by pass."""
    place.mkdir(exist_ok=True)
    kept = place / "values.json"
    known: dict[str, float] = json.loads(kept.read_text()) if kept.exists() else {}
    for joint in joint_passes([trial for trial in trials if trial.owner not in known], base.description.sampling.rows):
        parts = learned(base, [joint], console)[0]
        known |= zip([str(part.owner) for part in parts], judge.values(base, parts, "cat"), strict=True)
        for part in parts:
            sheet([samples(base, [part], judge, "cat")]).save(place / f"{part.owner}.png")
        write_text(kept, json.dumps(known))
    return [known[str(trial.owner)] for trial in trials]


def compared(base: Base, concepts: Mapping[str, Concept], given: argparse.Namespace, place: Path) -> dict[str, Any]:
    """What junk costs, and what the cleaned copy wins back, paired by seed."""
    example, seeds = Concept.open(EXAMPLE), given.seeds
    trials = [trial for name in SETS for trial in trials_of(base, concepts[name], name, given.steps, seeds)]
    encoder = open_encoder(base.description.image_encoders("subject")[0], "image", str(base.device))
    judge = Judge.of(base, example, example.split(0).held_out, encoder)
    with Console() as console:
        values = fidelities(base, trials, judge, place, console)
    floor, ceiling = judge.bare(base, "cat"), judge.redrawn(base)
    scores = [(value - floor) / (ceiling - floor) for value in values]
    by_set = {name: scores[i * seeds : (i + 1) * seeds] for i, name in enumerate(SETS)}
    lost, won = difference(by_set["clean"], by_set["junk"]), difference(by_set["cleaned"], by_set["junk"])
    return {
        "pictures": {name: len(concept.pictures) for name, concept in concepts.items()}, "fidelity": by_set,
        "lost": lost, "won": won, "won_back": won["mean"] / lost["mean"], "steps": trials[0].settings.steps,
    }  # fmt: skip


def worth(base: Base, concept: Concept, given: argparse.Namespace, place: Path) -> list[dict[str, Any]]:
    """The worth of each training picture of the junk folder, the least first, and what was planted there."""
    grave = bad(check_folder(CheckRequest(concept, Place("demo")), opened=lambda _: base).findings)
    split = concept.split(0)
    members = random_halves(len(split.train), given.halves or 4 * len(split.train), 0)
    trials = half_trials(base, concept, split.train, members, 0, 0)
    encoder = open_encoder(base.description.image_encoders("subject")[0], "image", str(base.device))
    judge = Judge.of(base, concept, [i for i in split.held_out if concept.pictures[i].name not in grave], encoder)
    with Console() as console:
        values = fidelities(base, trials, judge, place, console)
    names = [concept.pictures[i].name for i in split.train]
    found = zip(names, effects(members, np.array(values)), strict=True)
    rows = [dict(zip(("name", "effect", "low", "high"), (name, *three), strict=True)) for name, three in found]
    return sorted(rows, key=lambda row: row["effect"])


def beside(rows: Sequence[Sequence[Image.Image]]) -> Image.Image:
    """Pictures of one size in rows and columns."""
    width, height = rows[0][0].size
    whole = Image.new("RGB", (len(rows[0]) * (width + 12), len(rows) * (height + 12)), "white")
    for down, row in enumerate(rows):
        for across, picture in enumerate(row):
            whole.paste(picture, (across * (width + 12), down * (height + 12)))
    return whole


def measured(given: argparse.Namespace, place: Path) -> dict[str, Any]:
    place.mkdir(parents=True, exist_ok=True)
    base = Place("demo").open()
    concepts = folders(Concept.open(EXAMPLE), base, place)
    found = compared(base, concepts, given, place / "sets")
    if given.pictures:
        rows = [[Image.open(place / "sets" / f"{name}-{seed}.png") for seed in range(given.seeds)] for name in SETS]
        beside(rows).save(given.pictures)
    if given.worth:
        found["worth"] = worth(base, concepts["junk"], given, place / "halves")
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path)
    parser.add_argument(
        "--pictures", type=Path, help="a sheet of samples: a row for each folder, a column for each seed"
    )
    parser.add_argument("--steps", type=int, default=0, help="of each training; 0: the base's own")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--worth", action="store_true", help="also the worth of each picture of the junk folder")
    parser.add_argument("--halves", type=int, default=0, help="trainings for the worth; 0: four for each picture")
    parser.add_argument("--keep", type=Path, help="a folder for pictures and values, from which another run goes on")
    given = parser.parse_args()
    with TemporaryDirectory() as temporary:
        text = json.dumps(measured(given, given.keep or Path(temporary)), indent=1)
    if given.out:
        write_text(given.out, text + "\n")
    print(text)


if __name__ == "__main__":
    main()
