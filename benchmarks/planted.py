"""Truths planted in real trainings on the demo base, and whether the verdict finds them; some ten minutes.

    python -m benchmarks.planted FOLDER --out OUT    # FOLDER: a concept, such as examples/blob-cat

LoRA four times: in full, in full again, with a tenth of the steps, with learning rate 0. And DreamBooth made to learn
by heart: no captions, nothing of the class to keep, eight times the steps. Their scores are put side by side under
names of their own, as if they were five methods of one study.
"""

from __future__ import annotations

import argparse
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from triptych.console import Console
from triptych.scores import BASE, REAL, Score, read_scores
from triptych.settings import Value
from triptych.study import Plan, run
from triptych.verdict import Verdict, judge
from triptych.verdict.words import span

BY_HEART = "by-heart"


@dataclass(frozen=True)
class Variant:
    name: str
    settings: Mapping[str, Value]
    method: str = "lora"
    captions: bool = True


def variants(steps: int) -> list[Variant]:
    return [
        Variant("full", {"steps": steps}),
        Variant("copy", {"steps": steps}),
        Variant("a-tenth", {"steps": max(1, steps // 10)}),
        Variant("rate-0", {"steps": steps, "lr": 0.0}),
        Variant(BY_HEART, {"steps": 8 * steps, "prior_weight": 0.0}, "dreambooth", captions=False),
    ]


def uncaptioned(folder: Path, place: Path) -> Path:
    """The same pictures without a word on what else they show."""
    shutil.copytree(folder, place, ignore=shutil.ignore_patterns("*-*.txt"), dirs_exist_ok=True)
    return place


def together(folder: Path, out: Path, steps: int) -> Iterator[Score]:
    """The scores of all variants, with the bare base's and the real pictures' once."""
    with Console() as console:
        for variant in variants(steps):
            place, name = out / variant.name, variant.method
            pictures = folder if variant.captions else uncaptioned(folder, out / "uncaptioned" / folder.name)
            plan = Plan(pictures, methods=(name,), budget="quick", settings={name: variant.settings})
            run(plan, place, console)
            for score in read_scores(place / "scores.jsonl"):
                if score.method == name:
                    yield replace(score, method=variant.name)
                elif variant.name == "full" and score.method in (BASE, REAL):
                    yield score


def found(verdict: Verdict) -> dict[str, bool]:
    """Each planted truth, and whether the verdict says it."""
    decided = {(d.criterion, d.method, d.other): d.decision for d in verdict.differences}
    twins = {decision for (_, one, other), decision in decided.items() if (one, other) == ("full", "copy")}
    untrained = verdict.methods["rate-0"]["fidelity"]
    return {
        "a tenth of the steps loses": decided["fidelity", "full", "a-tenth"] == "better",
        "two copies are no difference in any criterion": twins == {"no difference"},
        "learning rate 0 is the base, exactly": untrained.low == untrained.value == untrained.high == 0,
        "learning rate 0 preserves the base": round(verdict.methods["rate-0"]["base_preservation"].low, 6) == 1,
        "what was learned by heart is flagged, and nothing else": copies(verdict) == {BY_HEART},
    }


def copies(verdict: Verdict) -> set[str]:
    """What is flagged as copying."""
    return {name for name, flags in verdict.flags.items() if any(flag.startswith("May copy") for flag in flags)}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=180)
    given = parser.parse_args()
    verdict = judge(list(together(given.folder, given.out, given.steps)), [])
    for name, row in verdict.methods.items():
        told = (f"{what} {row[what].value:5.2f} ({span(row[what])})" for what in ("fidelity", "memorisation"))
        print(f"{name:<8}", *told)
    for one in verdict.differences:
        if one.criterion == "fidelity":
            print(f"{one.method} {one.decision}: {one.other}  {one.interval.value:+.2f}")
    for truth, told in found(verdict).items():
        print(f"{'found    ' if told else 'NOT FOUND'} {truth}")


if __name__ == "__main__":
    main()
