"""What each training option does to the score: one training with it on, beside trainings by the base's own settings.

    python -m benchmarks.options FOLDER... --out OUT [--method lora] [--steps 150] [--prompts 12] [--only huber,ema]

Every row of the table is one training on the pictures that a study trains on, with one option changed. The score is the
headline of a study, fidelity with everything in the prompt, by `triptych judge`. The usual settings are trained with
several seeds: an option counts as better or worse only where it lies outside of what seeds alone do. What is trained
and sampled is kept in OUT, so the same command goes on after a stop.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from functools import partial
from pathlib import Path
from statistics import fmean
from typing import Any

from triptych.base import Base, Place
from triptych.cli.console import Console
from triptych.data.concept import Concept
from triptych.data.examples import Examples
from triptych.exchange.artifact import Artifact
from triptych.exchange.saving import save
from triptych.methods import method_named
from triptych.options import StudyOptions
from triptych.settings import Value
from triptych.study.judging import JudgeRequest, judge_files
from triptych.study.progress import Progress, steps_of
from triptych.study.training import provenance
from triptych.training.fit import Trial, fit
from triptych.training.sharing import joint_passes

SEEDS = 3  # trainings by the usual settings
UNRELATED = 2  # prompts that do not name the concept; the headline does not need them
USUAL = "usual"
OPTIONS: Mapping[str, Mapping[str, Value]] = {  # those that a method lacks are left out
    "min_snr 5": {"min_snr": 5.0}, "debiased": {"debiased": True}, "huber 0.1": {"huber": 0.1},
    "noise_offset 0.05": {"noise_offset": 0.05}, "ema 0.99": {"ema": 0.99}, "drop_captions 0.1": {"drop_captions": 0.1},
    "schedule constant": {"schedule": "constant"}, "schedule rex": {"schedule": "rex"}, "warmup 20": {"warmup": 20},
    "clip 0": {"clip": 0.0}, "weight_decay 0.1": {"weight_decay": 0.1}, "accumulate 2": {"accumulate": 2},
    "rslora": {"rslora": True}, "dropout 0.1": {"dropout": 0.1}, "targets attention+mlp": {"targets": "attention+mlp"},
    "conv_rank 4": {"conv_rank": 4}, "text_lr": {"text_lr": 1e-4}, "algorithm dora": {"algorithm": "dora"},
    "length fixed": {"length": "fixed"},
}  # fmt: skip


@dataclass(frozen=True)
class Row:
    """One training: the option that is on, and the file of its result."""

    option: str
    method: str
    settings: Any
    seed: int
    file: Path


def rows(base: Base, concept: Concept, method: str, out: Path, steps: int, only: Sequence[str]) -> list[Row]:
    """The trainings of a concept: the usual settings by several seeds, then each option by the first seed."""
    kind = method_named(method)
    known = {entry.name for entry in fields(kind.settings_class)}
    own = base.description.methods.get(method, {})
    wanted = [(USUAL, {}, seed) for seed in range(SEEDS)] + [
        (option, dict(given), 0)
        for option, given in OPTIONS.items()
        if given.keys() <= known and (not only or given.keys() & set(only))
    ]
    found = []
    for option, given, seed in wanted:
        settings = kind.for_concept(kind.configure(own, {"steps": steps} if steps else {}, given), concept)
        name = f"{method}-{option.replace(' ', '-').replace('+', '-')}-{settings.steps}-{seed}.safetensors"
        found.append(Row(option, method, settings, seed, out / concept.name / name))
    return found


def train(base: Base, concept: Concept, wanted: Sequence[Row], progress: Progress) -> None:
    """Train what has no file yet; trainings that share the frozen base train in one pass."""
    examples = Examples.of(base, concept, concept.split(0).train)
    missing = [row for row in wanted if not row.file.is_file()]
    for joint in joint_passes(missing, base.description.sampling.rows):
        progress.stage(f"training {len(joint)} of {len(missing)}", max(row.settings.steps for row in joint))
        trials = [
            Trial(row.method, row.settings, examples, concept.class_word, row.seed, row.file.stem) for row in joint
        ]
        alone = [replace(trial, owner=None) for trial in trials] if len(trials) == 1 else trials
        for row, fitted in zip(joint, fit(base, alone, progress=steps_of(progress)), strict=True):
            if fitted.failure:
                progress.note(f"{row.option}: {fitted.failure}")
                continue
            kind = method_named(row.method)
            origin = provenance(base, concept, kind.phrase(row.settings, concept.class_word), row.seed)
            row.file.parent.mkdir(parents=True, exist_ok=True)
            artifact = Artifact.trained(row.method, row.settings, fitted.tensors, origin)
            save(artifact, row.file, to=kind.exports_as[0], base=base)


def scores(folder: Path, wanted: Sequence[Row], out: Path, prompts: int, progress: Progress) -> dict[str, list[float]]:
    """Option -> the headline of each of its trainings."""
    trained = [row for row in wanted if row.file.is_file()]
    options = replace(StudyOptions(), prompts=prompts, unrelated=UNRELATED)
    judged = judge_files(JudgeRequest(tuple(row.file for row in trained), folder, options), out, progress)
    known = {found.file: judged.verdict.methods[found.row]["both"].value for found in judged.record.files}
    table: dict[str, list[float]] = {}
    for row in trained:
        table.setdefault(row.option, []).append(known[row.file.name])
    return table


def page(found: Mapping[str, Mapping[str, list[float]]], method: str) -> str:
    """The table as Markdown: the difference of each option from the mean of the usual trainings."""
    lines = [f"| {method} | {' | '.join(found)} |", f"|---|{'---|' * len(found)}"]
    spreads = [f"{fmean(own[USUAL]):.2f} ({min(own[USUAL]):.2f} to {max(own[USUAL]):.2f})" for own in found.values()]
    lines.append(f"| usual settings, {SEEDS} seeds | {' | '.join(spreads)} |")
    for option in dict.fromkeys(option for own in found.values() for option in own if option != USUAL):
        lines.append(f"| `{option}` | {' | '.join(map(partial(_difference, option), found.values()))} |")
    return "\n".join(lines)


def _difference(option: str, own: Mapping[str, list[float]]) -> str:
    """The difference from the usual trainings, in bold where it lies outside of all of them."""
    if option not in own:
        return "failed"
    value, usual = own[option][0], own[USUAL]
    text = f"{value - fmean(usual):+.2f}"
    return text if min(usual) <= value <= max(usual) else f"**{text}**"


def main(words: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folders", type=Path, nargs="+")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--method", default="lora")
    parser.add_argument("--steps", type=int, default=0, help="0: the base's own number")
    parser.add_argument("--prompts", type=int, default=12)
    parser.add_argument("--only", default="", help="settings, separated by commas")
    given = parser.parse_args(words)
    base, found = Place().open(), dict[str, Mapping[str, list[float]]]()
    only = [name for name in given.only.split(",") if name]
    with Console() as console:
        for folder in given.folders:
            concept = Concept.open(folder)
            wanted = rows(base, concept, given.method, given.out, given.steps, only)
            train(base, concept, wanted, console)
            found[concept.name] = scores(folder, wanted, given.out / f"{concept.name}-judged", given.prompts, console)
    print(page(found, given.method))


if __name__ == "__main__":
    main()
