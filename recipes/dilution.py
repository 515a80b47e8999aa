"""Measures how much mixes of LoRAs keep of each concept, on the embedded base: ratios, counts, generations.

    python -m recipes.dilution --out OUT --minutes 90          # go on with the same command
    python -m recipes.dilution --out OUT --method dreambooth   # differences of the denoiser's weights instead

It takes the six examples whose pictures have no faults, trains one file of each for every training seed, and runs a
study of dilution for each seed. The base's settings were chosen by none of them. What is there already is not made
again, so the work can be stopped at any time; with --minutes it stops by itself. When all is done it writes
docs/dilution.md.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean, stdev

from scipy.stats import t as student

from triptych.base import Place
from triptych.cli.console import Console
from triptych.dilution.plan import DilutionPlan, Source
from triptych.dilution.result import Result
from triptych.dilution.run import dilution

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "dilution.md"
EXAMPLES = ("blob-cat", "koala", "outline", "negative", "night", "menagerie")  # no setting was chosen by them
COUNTS = (2, 3, 4, 6)


def train(folder: Path, file: Path, method: str, seed: int) -> None:
    """One training with the base's own settings; one that was stopped goes on."""
    command = [sys.executable, "-m", "triptych", "train", method, str(folder), "--out", str(file), "--seed", str(seed),
               "--device", "cpu", "--resume"]  # fmt: skip
    file.parent.mkdir(parents=True, exist_ok=True)
    subprocess.run(command, cwd=ROOT, check=True)


def sources(out: Path, method: str, seed: int, ends: float) -> tuple[Source, ...] | None:
    """A trained file for each concept; None where the time was over before all were trained."""
    found = []
    for folder in (ROOT / "examples" / name for name in EXAMPLES):
        file = out / method / f"seed-{seed}" / f"{folder.name}.safetensors"
        if not file.is_file():
            if time.monotonic() > ends:
                return None
            train(folder, file, method, seed)
        found.append(Source(file, folder))
    return tuple(found)


def over_seeds(results: Sequence[Result], axis: str, way: str = "") -> list[str]:
    """Rows of a table: value on the axis, mean loss over training seeds with Student's interval, each seed's loss."""
    rows = []
    for value in [value for value, _ in results[0].along(axis, way)]:
        lost = [1 - dict(result.along(axis, way))[value].value for result in results]
        half = float(student.ppf(0.975, len(lost) - 1)) * stdev(lost) / len(lost) ** 0.5 if len(lost) > 1 else 0.0
        span = f"{fmean(lost) - half:.2f} to {fmean(lost) + half:.2f}" if half else ""
        rows.append(f"| {value:g} | {fmean(lost):.2f} | {span} | {', '.join(f'{one:.2f}' for one in lost)} |")
    return rows


def write(results: Sequence[Result], method: str, out: Path, page: Path) -> None:
    """The page, and the first seed's HTML page beside it."""
    lines = [
        "# What a mix loses", "",
        f"Mixes of {len(results[0].files)} files of the kind {method} on the embedded base, for {len(results)}",
        "training seeds. Loss is 1 - retention: 0 where a mix keeps all that a file adds to the bare base, 1 where it",
        f"keeps nothing of it. Intervals are over training seeds, for these concepts: {', '.join(EXAMPLES)}.",
        "No setting of the base was chosen by them.", "",
        f"    python -m recipes.dilution --out OUT --method {method} --seeds {len(results)}", "",
        *[f"- seed {seed}: {' '.join(result.sentences)}" for seed, result in enumerate(results)],
    ]  # fmt: skip
    head = ["", "| {} | loss | 95 % interval | each seed |", "|---|---|---|---|"]
    for title, axis, way, across in (
        ("Averaged", "count", "average", "files"),
        ("Summed at full strength", "count", "sum", "files"),
        ("Mixed again and again, half and half", "generation", "", "mixes"),
        ("Along the ratio of the first two", "ratio", "", "share of the second"),
    ):
        rows = over_seeds(results, axis, way)
        if rows:
            lines += ["", f"## {title}", head[0], head[1].format(across), head[2], *rows]
    page.write_text("\n".join(lines) + "\n", encoding="utf-8")
    kept = page.with_suffix("")
    kept.mkdir(exist_ok=True)
    for name in ("dilution.html", "dilution.json"):
        shutil.copyfile(out / method / "study-0" / name, kept / f"{method}-{name}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--method", choices=("lora", "dreambooth"), default="lora")
    parser.add_argument("--seeds", type=int, default=3, help="trainings of each file")
    parser.add_argument("--prompts", type=int, default=16, help="pictures of each concept for each mix")
    parser.add_argument("--minutes", type=float, default=0, help="stop after so long; 0: when all is done")
    parser.add_argument("--page", type=Path, default=PAGE)
    given = parser.parse_args()
    ends, results = time.monotonic() + 60 * given.minutes if given.minutes else float("inf"), list[Result]()
    for seed in range(given.seeds):
        files = sources(given.out, given.method, seed, ends)
        left = (ends - time.monotonic()) / 60
        if files is None or left <= 0:
            print("the time is over: run the same command again to go on")
            return
        plan = DilutionPlan(
            files, Place("demo", device="cpu", precision="fp32"), COUNTS, prompts=given.prompts, seed=seed,
            minutes=left if left != float("inf") else 0.0,
        )  # fmt: skip
        with Console() as console:
            results.append(dilution(plan, given.out / given.method / f"study-{seed}", console))
        print("\n".join(results[-1].sentences), flush=True)
        if not results[-1].complete:
            return
    write(results, given.method, given.out, given.page)
    print(given.page)


if __name__ == "__main__":
    main()
