"""What junk costs, and what a cleaned copy wins back: one LoRA for each of three folders and each seed, in one pass.

    python -m benchmarks.junk_costs --out docs/datasets/junk-costs.json     # some 15 minutes on two cores

The clean folder has the pictures of examples/blob-cat that a study trains on. The junk folder has twice as many bad
ones beside them: other drawings captioned as the cat, captions that name another background, blurred, tiny and repeated
pictures. The cleaned folder is what `triptych check --fix` makes of it. All LoRAs have the same settings and steps, and
sample the captions of the same held-out pictures with the same seeds. Fidelity is the mean cosine of a sample with the
held-out picture whose caption it has, by the base's image encoder; 0 stands for the bare base, 1 for the held-out
pictures through the autoencoder.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import statistics
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from PIL import Image, ImageFilter

from triptych.app.check import CheckRequest, check_folder
from triptych.app.worth import METHOD, Judge, learned
from triptych.base import Base, Place
from triptych.cli.console import Console
from triptych.data.cleaning import clean
from triptych.data.concept import Concept
from triptych.data.examples import Examples
from triptych.files.atomic import write_text
from triptych.methods import method_named
from triptych.metrics.encoders import open_encoder
from triptych.metrics.world import World, composed
from triptych.training.fit import Trial
from triptych.training.sharing import joint_passes

EXAMPLE = Path(__file__).parents[1] / "examples" / "blob-cat"
STRANGERS, WRONG, BLURRED, TINY, AGAIN = 5, 4, 3, 2, 4
SETS = ("clean", "junk", "cleaned")


def training_folder(concept: Concept, place: Path) -> None:
    """The pictures that a study trains on, with their captions and words."""
    place.mkdir(parents=True)
    for i in concept.split(0).train:
        picture = concept.pictures[i]
        shutil.copy(picture.path, place)
        (place / f"{picture.path.stem}.txt").write_text(picture.caption)
    shutil.copy(EXAMPLE / "concept.toml", place)


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


def trials_of(base: Base, concept: Concept, name: str, steps: int, seeds: int) -> list[Trial]:
    method = method_named(METHOD)
    settings: Any = method.for_concept(method.configure(base.description.methods.get(METHOD, {})), concept)
    settings = replace(settings, fixed_every=0, **({"steps": steps} if steps else {}))
    examples = Examples.of(base, concept, range(len(concept.pictures)))
    return [Trial(METHOD, settings, examples, concept.class_word, seed, f"{name}-{seed}") for seed in range(seeds)]


def measured(steps: int, seeds: int, temporary: Path) -> dict[str, Any]:
    base, whole = Place("demo").open(), Concept.open(EXAMPLE)
    world = World.open(base.folder) if base.folder else None
    assert world is not None
    training_folder(whole, temporary / "clean")
    training_folder(whole, temporary / "junk")
    spoil(temporary / "junk", world, random.Random(0))
    checked = check_folder(CheckRequest(Concept.open(temporary / "junk"), Place("demo")), opened=lambda place: base)
    done = clean(checked.concept, checked.findings, temporary / "cleaned")
    folders = {name: Concept.open(temporary / name) for name in SETS}
    trials = [trial for name in SETS for trial in trials_of(base, folders[name], name, steps, seeds)]
    encoder = open_encoder(base.description.image_encoders("subject")[0], "image", str(base.device))
    judge = Judge.of(base, whole, whole.split(0).held_out, encoder)
    with Console() as console:
        passes = list(joint_passes(trials, base.description.sampling.rows))
        values = [value for parts in learned(base, passes, console) for value in judge.values(base, parts, "cat")]
    floor, ceiling = judge.bare(base, "cat"), judge.redrawn(base)
    scores = [(value - floor) / (ceiling - floor) for value in values]
    by_set = {name: scores[i * seeds : (i + 1) * seeds] for i, name in enumerate(SETS)}
    lost = [good - bad for good, bad in zip(by_set["clean"], by_set["junk"], strict=True)]
    won = [fixed - bad for fixed, bad in zip(by_set["cleaned"], by_set["junk"], strict=True)]
    return {
        "pictures": {name: len(concept.pictures) for name, concept in folders.items()}, "fidelity": by_set,
        "lost": statistics.mean(lost), "won_back": statistics.mean(won) / statistics.mean(lost), "lost_by_seed": lost,
        "won_by_seed": won, "steps": trials[0].settings.steps, "done": done,
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path)
    parser.add_argument("--steps", type=int, default=0, help="of each training; 0: the base's own")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--keep", type=Path, help="a folder for the three folders of pictures")
    given = parser.parse_args()
    with TemporaryDirectory() as temporary:
        text = json.dumps(measured(given.steps, given.seeds, given.keep or Path(temporary)), indent=1)
    if given.out:
        write_text(given.out, text + "\n")
    print(text)


if __name__ == "__main__":
    main()
