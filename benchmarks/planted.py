"""Bad rows planted among a real study's pictures, and whether the verdict sees through them.

    python -m benchmarks.planted STUDY            # STUDY: the --out folder of `triptych try`; a minute
    python -m benchmarks.planted STUDY --train    # with rows that have to be trained too; some ten minutes more

Made of pictures: a *parrot* that gives the same training picture back whatever is asked for; the *bare* base under a
method's name; *noise*; the pictures of the study's best row for *shuffled* prompts; and a *twin*, the best row once
more. Trained: a LoRA of a tenth of the steps (*hardly*), one with learning rate 0 (*rate-0*), and a DreamBooth that
learns three pictures *by-heart*: no captions, nothing of the class to keep, eight times the steps. Each of them is
given the smallest file and the shortest training of all, which is what a need could be deceived by.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from PIL import Image

from triptych.cli.console import Console
from triptych.data.concept import Concept, fill
from triptych.exchange.formats import open_artifact
from triptych.methods import method_named
from triptych.metrics import Shown, measure
from triptych.records import PointsRecord
from triptych.sampling.generate import sample
from triptych.sampling.request import Request
from triptych.scores import BASE, RESEEDED, Cost, Score
from triptych.settings import Value
from triptych.study import Plan, read, run
from triptych.study.layout import Layout
from triptych.study.points import points_of
from triptych.study.sheets import pictures, sheets
from triptych.study.training import runs
from triptych.study.work import Work
from triptych.verdict import NEEDS, Verdict, judge
from triptych.verdict.words import span

FEW = 3  # pictures that are learned by heart
BAD = ("parrot", "bare", "noise", "shuffled", "rate-0", "by-heart")
COPIES = ("parrot", "by-heart")
TWIN, HARDLY = "twin", "hardly"


def planted(shown: Sequence[Shown], concept: Concept, resolution: int, best: str, out: Path) -> list[Shown]:
    """The rows that are made of pictures, for every picture of the row `best`; written into `out`."""
    mine = [sample for sample in shown if sample.method == best]
    bare = {(sample.role, sample.prompt, sample.seed): sample.path for sample in shown if sample.method == BASE}
    copied = concept.images(resolution)[concept.split(0).train[0]]
    random = np.random.default_rng(0)

    def noise(_: Shown) -> Image.Image:
        return Image.fromarray(random.integers(0, 256, (resolution, resolution, 3), dtype=np.uint8))

    by_role = {role: [sample for sample in mine if sample.role == role] for role in {sample.role for sample in mine}}
    shifted = {  # the pictures of one role, each for the prompt some places on
        sample: others[(i + len(others) // 2 + 1) % len(others)]
        for others in by_role.values()
        for i, sample in enumerate(others)
    }
    rows: dict[str, Callable[[Shown], Image.Image]] = {
        "parrot": lambda _: copied,
        "bare": lambda sample: replace(
            sample, path=bare.get((sample.role, sample.prompt, sample.seed), sample.path)
        ).open(),
        "noise": noise,
        "shuffled": lambda sample: shifted[sample].open(),
        TWIN: lambda sample: sample.open(),
    }
    return [_write(sample, name, row(sample), out) for name, row in rows.items() for sample in mine]


def _write(sample: Shown, name: str, picture: Image.Image, out: Path) -> Shown:
    path = out / name / sample.role / f"{sample.replicate}-{sample.path.name}"
    path.parent.mkdir(parents=True, exist_ok=True)
    picture.save(path)
    return replace(sample, method=name, path=path, picture=f"{name}/{path.name}")


@dataclass(frozen=True)
class KnownTraining:
    """A training whose result is known beforehand."""

    method: str
    settings: Mapping[str, Value]
    pictures: int | None = None  # how many it sees, without captions; None: all, as they are


def known_trainings(work: Work) -> dict[str, KnownTraining]:
    def steps(name: str) -> int:
        return int(work.plan.settings_of(name, work.base, work.concept).steps)

    return {
        HARDLY: KnownTraining("lora", {"steps": max(1, steps("lora") // 10)}),
        "rate-0": KnownTraining("lora", {"steps": 2, "lr": 0.0}),
        "by-heart": KnownTraining("dreambooth", {"steps": 8 * steps("dreambooth"), "prior_weight": 0.0}, FEW),
    }


def trained_rows(work: Work, name: str, training: KnownTraining, out: Path, console: Console) -> Iterator[Shown]:
    """Train, and sample the study's own prompts with the result."""
    folder = work.plan.folder
    if training.pictures:
        folder = out / "few" / work.concept.name
        folder.mkdir(parents=True, exist_ok=True)
        for i in work.concept.split(0).train[: training.pictures]:
            shutil.copy(work.concept.pictures[i].path, folder)
    concept = work.concept
    plan = Plan(
        folder, place=work.plan.place, kind=concept.kind, class_word=concept.class_word, methods=(training.method,),
        budget=work.plan.budget, settings={training.method: training.settings}, prompts=2, unrelated=2, points=False,
        together=(),
    )  # fmt: skip
    run(plan, out / f"{name}-study", console)
    there = Work(plan, work.base, plan.concept(), Layout(out / f"{name}-study"), console)
    [trained] = runs(there)[:1]
    phrase = method_named(training.method).phrase(trained.settings, concept.class_word)
    asked = [(each, fill(each.template, concept.class_word), each.seed(work.plan.seed)) for each in work.prompts]
    with open_artifact(trained.artifact).apply(work.base):
        sampled = sample(work.base, [Request(fill(each.template, phrase), (seed,)) for each, _, seed in asked])
    for i, ((_, prompt, seed), [picture]) in enumerate(zip(asked, sampled, strict=True)):
        yield _write(Shown(name, 0, "concept", prompt, seed, Path(f"{i:05}.png"), ""), name, picture, out)


def cheap(names: Iterable[str]) -> list[Cost]:
    """The smallest file, the shortest training."""
    return [Cost(name, True, 1, 1000, 1, 1, seconds_alone=1.0) for name in names]


def found(verdict: Verdict, best: str) -> dict[str, bool]:
    """What has to be seen, and whether it is."""
    decided = {frozenset((d.method, d.other)): d.decision for d in verdict.differences if d.criterion == "both"}
    choices = {need: verdict.recommendation.by_need[need].method for need in NEEDS}
    truths = {
        f"{name} is recommended for nothing": name not in choices.values() for name in BAD if name in verdict.methods
    }
    truths |= {f"{name} is flagged": name in copies(verdict) for name in COPIES if name in verdict.methods}
    truths["the best row is not flagged"] = best not in copies(verdict)
    if TWIN in verdict.methods:
        truths["two copies are no difference"] = decided[frozenset((best, TWIN))] == "no difference"
    if HARDLY in verdict.methods:
        truths["hardly trained loses"] = verdict.methods[HARDLY]["both"].value < verdict.methods[best]["both"].value
    return truths


def copies(verdict: Verdict) -> set[str]:
    """What is flagged as copying."""
    return {name for name, flags in verdict.flags.items() if any(flag.startswith("Copies") for flag in flags)}


def best_of(scores: Sequence[Score], costs: Sequence[Cost]) -> str:
    methods = judge(scores, costs).methods
    return max((name for name in methods if "both" in methods[name]), key=lambda name: methods[name]["both"].value)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("study", type=Path)
    parser.add_argument("--train", action="store_true", help="also the rows that have to be trained")
    parser.add_argument("--out", type=Path, help="where trained rows are kept [default: nowhere]")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary, Console() as console:
        out = given.out or Path(temporary)
        plan = read(given.study)
        work = Work(plan, plan.place.open(), plan.concept(), Layout(given.study), console)
        known = PointsRecord.read(given.study).points if (given.study / PointsRecord.NAME).is_file() else ()
        sampled = pictures(work, sheets(work, [each for each in runs(work) if each.done], points_of(known)))
        if not any(sample.method not in (BASE, RESEEDED) for sample in sampled):
            raise SystemExit(f"{given.study} has no pictures of these prompts: run `triptych try` on it again")
        own = measure(work.evidence(sampled))
        best = best_of(own, [])
        rows = planted(sampled, work.concept, work.base.resolution, best, out)
        for name, training in known_trainings(work).items() if given.train else ():
            rows += trained_rows(work, name, training, out, console)
        scores = measure(work.evidence([*sampled, *rows]))
    names = dict.fromkeys(sample.method for sample in sampled if sample.method not in (BASE, RESEEDED))
    costs = [Cost(name, True, 1, 10**6, 1, 1, seconds_alone=60.0) for name in names]
    verdict = judge(scores, [*costs, *cheap({sample.method for sample in rows})])
    for name, row in verdict.methods.items():
        shown = ("both", "fidelity", "prompt_fidelity", "copying", "memorisation")
        print(f"{name:<20}", *(f"{what} {row[what].value:5.2f} ({span(row[what])})" for what in shown if what in row))
    for need in NEEDS:
        print(f"for {need}: {verdict.recommendation.by_need[need].method}")
    for truth, told in found(verdict, best).items():
        print(f"{'found    ' if told else 'NOT FOUND'} {truth}")


if __name__ == "__main__":
    main()
