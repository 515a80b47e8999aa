"""What junk costs, what a cleaned copy wins back, and which pictures `--worth` names: LoRAs that share passes.

    D=docs/datasets
    python -m benchmarks.junk_costs --keep OUT --worth --out $D/junk-costs.json --pictures $D/junk-costs.png

"clean" is examples/blob-cat without the pictures that a study holds out, "junk" is examples/junk without them, and
"cleaned" is what `triptych check --fix` makes of "junk". A LoRA of each folder and seed has the base's own settings,
as many steps as in a quick study, and centre squares. All are judged as by `triptych judge --folder examples/blob-cat`:
by the prompts of a study, on the headline figure (0: the bare base, 1: the held-out pictures with everything that the
prompt says), at the strength that a quick study of blob-cat chose. The seeds of a training are the same for all
folders, so differences are paired. The worth is measured on "junk" as `triptych check --worth` does, by held-out
pictures of its own. A run goes on where an earlier one with the same --keep stopped.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.framings import difference
from recipes.first_results import sheet
from triptych.app.check import CheckRequest, check_folder
from triptych.app.worth import METHOD, Judge, half_trials, learned, random_halves, told
from triptych.base import Base, Place
from triptych.cli.console import Console
from triptych.data.checking import unfit_to_judge
from triptych.data.cleaning import clean
from triptych.data.concept import Concept
from triptych.data.examples import Examples
from triptych.exchange.saving import save
from triptych.files.atomic import write_text
from triptych.methods import method_named
from triptych.metrics.encoders import open_encoder
from triptych.options import PictureOptions
from triptych.study.judging import JudgeRequest, judge_files
from triptych.study.layout import key
from triptych.training.fit import Trial
from triptych.training.sharing import joint_passes

EXAMPLES = Path(__file__).parents[1] / "examples"
WHOLE = EXAMPLES / "blob-cat"
PLANTED = ("nearly-again", "blurred", "tiny", "mislabelled", "stranger")
SETS = ("clean", "junk", "cleaned")
FIGURES = ("both", "fidelity", "prompt_fidelity")


def without(example: Path, held_out: frozenset[str], place: Path) -> None:
    """A copy of an example without the pictures of these digests."""
    if place.exists():
        return
    gone = {picture.path.stem for picture in Concept.open(example).pictures if picture.digest in held_out}
    shutil.copytree(example, place, ignore=lambda _, names: {name for name in names if Path(name).stem in gone})


def folders(base: Base, place: Path) -> dict[str, Concept]:
    """The three folders, made where they are not there yet."""
    whole = Concept.open(WHOLE)
    held_out = frozenset(whole.pictures[i].digest for i in whole.split(0).held_out)
    without(WHOLE, held_out, place / "clean")
    without(EXAMPLES / "junk", held_out, place / "junk")
    if not (place / "cleaned").exists():
        checked = check_folder(CheckRequest(Concept.open(place / "junk"), Place("demo")), opened=lambda _: base)
        clean(checked.concept, checked.findings, place / "cleaned")
    return {name: Concept.open(place / name) for name in SETS}


def trials_of(base: Base, concept: Concept, name: str, given: argparse.Namespace) -> list[Trial]:
    """A training for each seed, on all pictures of the folder."""
    method = method_named(METHOD)
    settings: Any = method.for_concept(method.configure(base.description.methods.get(METHOD, {})), concept)
    steps = given.steps or round(base.description.budgets["quick"].steps * settings.steps)
    settings = replace(settings, fixed_every=0, steps=steps, lr=given.lr or settings.lr)
    examples = Examples.of(base, concept, range(len(concept.pictures)), PictureOptions(framing="square"))
    seeds = range(given.first_seed, given.first_seed + given.seeds)
    return [Trial(METHOD, settings, examples, concept.class_word, seed, f"{name}-{seed}") for seed in seeds]


def trained(base: Base, trials: Sequence[Trial], place: Path, console: Console) -> list[Path]:
    """The file of each training; those that are not there yet are trained, pass by pass."""
    files = {trial.owner: place / key(str(trial.settings)) / f"{trial.owner}.safetensors" for trial in trials}
    missing = [trial for trial in trials if not files[trial.owner].exists()]
    for joint in joint_passes(missing, base.description.sampling.rows):
        for part in learned(base, [joint], console)[0]:
            files[part.owner].parent.mkdir(exist_ok=True)
            save(part.artifact, files[part.owner], base=base)
    return [*files.values()]


def compared(
    base: Base, concepts: Mapping[str, Concept], given: argparse.Namespace, console: Console
) -> dict[str, Any]:
    """What junk costs, and what the cleaned copy wins back, paired by seed."""
    trials = {name: trials_of(base, concepts[name], name, given) for name in given.sets}
    files = trained(base, [trial for own in trials.values() for trial in own], given.keep, console)
    request = JudgeRequest(tuple(files), WHOLE, strengths=(given.strength,), says=dict.fromkeys(map(str, files), "cat"))
    rows = judge_files(request, given.keep / "judged", console, opened=lambda _: base).verdict.methods
    found = {
        what: {name: [rows[f"{t.owner}@{given.strength:g}"][what].value for t in own] for name, own in trials.items()}
        for what in FIGURES
    }
    told = {"steps": trials["clean"][0].settings.steps, "strength": given.strength, **found}
    if set(given.sets) < set(SETS):
        return told
    both = found["both"]
    lost, won = difference(both["clean"], both["junk"]), difference(both["cleaned"], both["junk"])
    count = {name: len(concept.pictures) for name, concept in concepts.items()}
    return {"pictures": count, **told, "lost": lost, "won": won, "won_back": won["mean"] / lost["mean"]}


def fidelities(base: Base, trials: Sequence[Trial], judge: Judge, place: Path, console: Console) -> list[float]:
    """The fidelity of each trial. The values are kept in `place`, pass by pass."""
    place.mkdir(exist_ok=True)
    kept = place / f"values-{key(str(trials[0].settings))}.json"
    known: dict[str, float] = json.loads(kept.read_text()) if kept.exists() else {}
    for joint in joint_passes([trial for trial in trials if trial.owner not in known], base.description.sampling.rows):
        parts = learned(base, [joint], console)[0]
        known |= zip([str(part.owner) for part in parts], judge.values(base, parts, "cat"), strict=True)
        write_text(kept, json.dumps(known))
    return [known[str(trial.owner)] for trial in trials]


def worth(base: Base, concept: Concept, given: argparse.Namespace, console: Console) -> dict[str, Any]:
    """The worth of each training picture of the junk folder, the least first, and the mean of what was planted."""
    unfit = unfit_to_judge(check_folder(CheckRequest(concept, Place("demo")), opened=lambda _: base).findings)
    split = concept.split(0)
    members = random_halves(len(split.train), given.halves or 4 * len(split.train), 0)
    trials = half_trials(base, concept, split.train, members, 0, 0)
    encoder = open_encoder(base.description.image_encoders("subject")[0], "image", str(base.device))
    judge = Judge.of(base, concept, [i for i in split.held_out if concept.pictures[i].name not in unfit], encoder)
    values = fidelities(base, trials, judge, given.keep / "halves", console)
    names = [concept.pictures[i].name for i in split.train]
    planted = {name: re.sub(r"^\d+-", "", Path(name).stem) for name in names}
    kinds = {kind: {name for name in names if planted[name] == kind} for kind in PLANTED}
    kinds["good"] = set(names).difference(*kinds.values())
    each, groups = told(names, members, np.array(values), kinds)
    return {"pictures": [*map(asdict, each)], "kinds": [*map(asdict, groups)]}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--keep", type=Path, required=True, help="a folder for what is made")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--pictures", type=Path, help="a sheet of samples, a row for the bare base and for each file")
    parser.add_argument("--sets", nargs="+", choices=SETS, default=SETS)
    parser.add_argument("--steps", type=int, default=0, help="of each training; 0: those of a quick study")
    parser.add_argument("--lr", type=float, default=0.0, help="learning rate; 0: the base's own")
    parser.add_argument("--strength", type=float, default=1.25)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--worth", action="store_true", help="also the worth of each picture of the junk folder")
    parser.add_argument("--halves", type=int, default=0, help="trainings for the worth; 0: four for each picture")
    given = parser.parse_args()
    given.keep.mkdir(parents=True, exist_ok=True)
    base = Place("demo").open()
    concepts = folders(base, given.keep)
    with Console() as console:
        found = compared(base, concepts, given, console)
        if given.pictures:
            sheet(given.keep / "judged").quantize(256).save(given.pictures, optimize=True)
        if given.worth:
            found["worth"] = worth(base, concepts["junk"], given, console)
    text = json.dumps(found, indent=1)
    if given.out:
        write_text(given.out, text + "\n")
    print(text)


if __name__ == "__main__":
    main()
