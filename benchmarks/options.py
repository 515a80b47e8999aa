"""What each training option does to the score: trainings with it on, beside trainings by the base's own settings.

    python -m benchmarks.options FOLDER... --out OUT [--method lora] [--steps 150] [--prompts 12] [--each 2]
    python -m benchmarks.options --page docs/training/options-lora.json

Every row of the table has trainings of some seeds on the pictures that a study trains on, with one option changed. The
score is the headline of a study, fidelity with everything in the prompt, by `triptych judge`. The usual settings are
trained with more seeds. The spread between seeds is pooled over all rows of a folder, and an option counts as better or
worse only where the 95 % interval of its difference (t, pooled) leaves out 0. What is trained and sampled is kept in
OUT, with the scores as JSON, so the same command goes on after a stop, and with more of `--each`. `--only huber,ema`
takes some settings.
"""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from math import sqrt
from pathlib import Path
from statistics import fmean
from typing import Any

from scipy.stats import t

from triptych.base import Base, Place
from triptych.cli.console import Console
from triptych.data.concept import Concept
from triptych.data.examples import Examples
from triptych.exchange.artifact import Artifact
from triptych.exchange.saving import save
from triptych.files.atomic import write_text
from triptych.methods import method_named
from triptych.options import StudyOptions
from triptych.settings import Value
from triptych.study.judging import JudgeRequest, judge_files
from triptych.study.progress import Progress, steps_of
from triptych.study.training import provenance
from triptych.training.fit import Trial, fit
from triptych.training.sharing import joint_passes

SEEDS = 8  # trainings by the usual settings
UNRELATED = 2  # prompts that do not name the concept; the headline does not need them
USUAL = "usual"
OPTIONS: Mapping[str, Mapping[str, Value]] = {  # those that a method lacks are left out
    "min_snr 5": {"min_snr": 5.0}, "debiased": {"debiased": True}, "huber 0.1": {"huber": 0.1},
    "noise_offset 0.05": {"noise_offset": 0.05}, "ema 0.99": {"ema": 0.99}, "drop_captions 0.1": {"drop_captions": 0.1},
    "schedule constant": {"schedule": "constant"}, "schedule rex": {"schedule": "rex"}, "warmup 20": {"warmup": 20},
    "clip 0": {"clip": 0.0}, "weight_decay 0.1": {"weight_decay": 0.1}, "accumulate 2": {"accumulate": 2},
    "rslora": {"rslora": True}, "dropout 0.1": {"dropout": 0.1}, "targets attention+mlp": {"targets": "attention+mlp"},
    "conv_rank 4": {"conv_rank": 4}, "text_lr": {"text_lr": 1e-4}, "algorithm dora": {"algorithm": "dora"},
    "length fixed": {"length": "fixed"}, "shuffle": {"shuffle": True}, "checkpointing": {"checkpointing": True},
    "frozen bf16": {"frozen": "bf16"}, "frozen fp8": {"frozen": "fp8"}, "algorithm loha": {"algorithm": "loha"},
    "algorithm lokr": {"algorithm": "lokr"}, "algorithm ia3": {"algorithm": "ia3"},
    "optimizer adafactor": {"optimizer": "adafactor"}, "optimizer prodigy, lr 1": {"optimizer": "prodigy", "lr": 1.0},
    "optimizer schedule-free": {"optimizer": "schedule-free", "schedule": "constant"},
}  # fmt: skip
SCALED: Mapping[str, tuple[float, Mapping[str, Value]]] = {  # with a part of the usual learning rate
    "optimizer lion, lr / 10": (0.1, {"optimizer": "lion"}), "optimizer came": (1.0, {"optimizer": "came"}),
    "optimizer came, lr / 10": (0.1, {"optimizer": "came"}), "lr / 3": (1 / 3, {}), "lr x 3": (3.0, {}),
}  # fmt: skip


@dataclass(frozen=True)
class Row:
    """One training: the option that is on, and the file of its result."""

    option: str
    method: str
    settings: Any
    seed: int
    file: Path


def rows(base: Base, concept: Concept, method: str, out: Path, steps: int, only: Sequence[str], each: int) -> list[Row]:
    """The trainings of a concept: the usual settings by several seeds, then each option by the first of them."""
    kind = method_named(method)
    known = {entry.name for entry in fields(kind.settings_class)}
    own = base.description.methods.get(method, {})
    usual = kind.configure(own)
    scaled = {option: {**given, "lr": usual.lr * factor} for option, (factor, given) in SCALED.items()}
    wanted: list[tuple[str, Mapping[str, Value], int]] = [(USUAL, {}, seed) for seed in range(SEEDS)]
    wanted += [
        (option, given, seed)
        for option, given in {**OPTIONS, **scaled}.items()
        for seed in range(each)
        if given.keys() <= known and (not only or given.keys() & set(only))
    ]
    found = []
    for option, given, seed in wanted:
        settings = kind.for_concept(kind.configure(own, {"steps": steps} if steps else {}, given), concept)
        name = f"{method}-{re.sub('[^a-z0-9.]+', '-', option)}-{settings.steps}-{seed}.safetensors"
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


@dataclass(frozen=True)
class Difference:
    """Of an option from the usual settings: the difference of the means, and half of its 95 % interval."""

    value: float
    half: float


def differences(own: Mapping[str, Sequence[float]]) -> dict[str, Difference]:
    """Option -> its difference. The spread between seeds is that within all rows together."""
    freedom = sum(len(values) - 1 for values in own.values())
    spread = sqrt(sum((value - fmean(values)) ** 2 for values in own.values() for value in values) / freedom)
    usual, bound = own[USUAL], t.ppf(0.975, freedom)
    return {
        option: Difference(fmean(values) - fmean(usual), bound * spread * sqrt(1 / len(values) + 1 / len(usual)))
        for option, values in own.items()
        if option != USUAL
    }


def page(measured: Mapping[str, Any]) -> str:
    """The table as Markdown, an option in bold where its interval leaves out 0."""
    found: Mapping[str, Mapping[str, list[float]]] = measured["scores"]
    lines = [f"| {measured['method']} | {' | '.join(found)} |", f"|---|{'---|' * len(found)}"]
    usual = [f"{fmean(own[USUAL]):.2f} ({min(own[USUAL]):.2f} to {max(own[USUAL]):.2f})" for own in found.values()]
    lines.append(f"| usual settings, {measured['seeds']} seeds | {' | '.join(usual)} |")
    each = [differences(own) for own in found.values()]
    for option in dict.fromkeys(option for own in each for option in own):
        lines.append(f"| `{option}` | {' | '.join(_cell(own.get(option)) for own in each)} |")
    return "\n".join(lines)


def _cell(found: Difference | None) -> str:
    if found is None:
        return "failed"
    text = f"{found.value:+.2f} ± {found.half:.2f}"
    return f"**{text}**" if abs(found.value) > found.half else text


def main(words: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folders", type=Path, nargs="*")
    parser.add_argument("--out", type=Path, help="where trainings, pictures and scores are kept")
    parser.add_argument("--method", default="lora")
    parser.add_argument("--steps", type=int, default=0, help="0: the base's own number")
    parser.add_argument("--prompts", type=int, default=12)
    parser.add_argument("--each", type=int, default=2, help="trainings with an option on, by the first seeds")
    parser.add_argument("--only", default="", help="settings, separated by commas")
    parser.add_argument("--page", type=Path, help="print the table of scores that were kept")
    given = parser.parse_args(words)
    if given.page:
        print(page(json.loads(given.page.read_text())))
        return
    if not (given.folders and given.out):
        parser.error("give folders and --out, or --page")
    base, found = Place().open(), dict[str, Mapping[str, list[float]]]()
    measured = {
        "method": given.method, "steps": given.steps, "prompts": given.prompts, "seeds": SEEDS, "each": given.each,
        "precision": str(base.dtype).removeprefix("torch."), "scores": found,
    }  # fmt: skip
    only = [name for name in given.only.split(",") if name]
    with Console() as console:
        for folder in given.folders:
            concept = Concept.open(folder)
            wanted = rows(base, concept, given.method, given.out, given.steps, only, given.each)
            train(base, concept, wanted, console)
            found[concept.name] = scores(folder, wanted, given.out / f"{concept.name}-judged", given.prompts, console)
            write_text(given.out / f"options-{given.method}.json", json.dumps(measured, indent=1) + "\n")
    print(page(measured))


if __name__ == "__main__":
    main()
