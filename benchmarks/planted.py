"""Truths planted in real trainings on the demo base, and whether the verdict finds them; some ten minutes.

    python -m benchmarks.planted FOLDER --out OUT    # FOLDER: a concept, such as examples/blob-cat

LoRA four times: in full, in full again, with a tenth of the steps, with learning rate 0. Their scores are put side by
side under names of their own, as if they were four methods of one study. And DreamBooth made to learn by heart, in a
study of its own: three pictures without captions, nothing of the class to keep, eight times the steps.
"""

from __future__ import annotations

import argparse
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

from triptych.cli.console import Console
from triptych.scores import BASE, REAL, Score, read_scores
from triptych.settings import Value
from triptych.study import Plan, run
from triptych.verdict import Verdict, judge
from triptych.verdict.words import span

FEW = 3  # pictures that are learned by heart


def variants(steps: int) -> dict[str, Mapping[str, Value]]:
    """LoRA's settings by name."""
    return {
        "full": {"steps": steps},
        "copy": {"steps": steps},
        "a-tenth": {"steps": max(1, steps // 10)},
        "rate-0": {"steps": steps, "lr": 0.0},
    }


def side_by_side(folder: Path, out: Path, steps: int, console: Console) -> Iterator[Score]:
    """The scores of all variants, with the bare base's and the real pictures' once."""
    for name, settings in variants(steps).items():
        for score in study(folder, out / name, "lora", settings, console):
            if score.method == "lora":
                yield replace(score, method=name)
            elif name == "full" and score.method in (BASE, REAL):
                yield score


def by_heart(folder: Path, out: Path, steps: int, console: Console) -> Verdict:
    """What is said of a training that sees a few pictures, and no word on them, far too often."""
    few = out / "few" / folder.name
    few.mkdir(parents=True, exist_ok=True)
    for file in [*sorted(folder.glob("*.png"))[:FEW], *folder.glob("concept.toml")]:
        shutil.copy(file, few)
    settings: Mapping[str, Value] = {"steps": 8 * steps, "prior_weight": 0.0}
    return judge(study(few, out / "by-heart", "dreambooth", settings, console), [])


def study(folder: Path, out: Path, name: str, settings: Mapping[str, Value], console: Console) -> list[Score]:
    """Train and measure one method."""
    run(Plan(folder, methods=(name,), budget="quick", settings={name: settings}), out, console)
    return read_scores(out / "scores.jsonl")


def found(verdict: Verdict, heart: Verdict) -> dict[str, bool]:
    """Each planted truth, and whether the verdicts say it."""
    decided = {(d.criterion, d.method, d.other): d.decision for d in verdict.differences}
    twins = {decision for (_, one, other), decision in decided.items() if (one, other) == ("full", "copy")}
    untrained = verdict.methods["rate-0"]["fidelity"]
    return {
        "a tenth of the steps loses": decided["fidelity", "full", "a-tenth"] == "better",
        "two copies are no difference in any criterion": twins == {"no difference"},
        "learning rate 0 is the base, exactly": untrained.low == untrained.value == untrained.high == 0,
        "learning rate 0 preserves the base": round(verdict.methods["rate-0"]["base_preservation"].low, 6) == 1,
        "what was learned by heart is flagged, and nothing else": copies(heart) == {"dreambooth"}
        and not copies(verdict),
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
    with Console() as console:
        verdict = judge(list(side_by_side(given.folder, given.out, given.steps, console)), [])
        heart = by_heart(given.folder, given.out, given.steps, console)
    for name, row in [*verdict.methods.items(), ("by-heart", heart.methods["dreambooth"])]:
        told = (f"{what} {row[what].value:5.2f} ({span(row[what])})" for what in ("fidelity", "memorisation"))
        print(f"{name:<8}", *told)
    for one in verdict.differences:
        if one.criterion == "fidelity":
            print(f"{one.method} {one.decision}: {one.other}  {one.interval.value:+.2f}")
    for truth, told in found(verdict, heart).items():
        print(f"{'found    ' if told else 'NOT FOUND'} {truth}")


if __name__ == "__main__":
    main()
