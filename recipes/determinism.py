"""Runs one study under several numbers of threads, and with other builds of torch, and tells what is said otherwise.

    python -m recipes.determinism --out OUT [--python OTHER/bin/python]

writes docs/verdict/threads.json, from which `python -m benchmarks.calibration --page` makes the table in
docs/verdict.md. Sums of floating-point numbers depend on their order, and so on threads and builds: trainings differ in
their last digits, then in more of them. What a study says should not. Studies that are there are only read.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from recipes.first_results import ROOT
from recipes.running import Wanted, run_all
from triptych.report.reading import read
from triptych.shell import command_line

FIGURES = ROOT / "docs" / "verdict" / "threads.json"
VERSION = "import torch; print(torch.__version__)"


def said(folder: Path) -> dict[str, Any]:
    """What the study in a folder says: answers with their probabilities, recommendations, points, headline figures."""
    reading = read(folder)
    verdict = reading.verdict
    choices = {need: choice.method for need, choice in verdict.recommendation.by_need.items()}
    return {
        "answers": {name: [answer.answer, answer.probability] for name, answer in verdict.answers.items()},
        "recommended": choices,
        "regret": verdict.recommendation.choice.regret,
        "both": {name: round(row["both"].value, 3) for name, row in verdict.methods.items() if "both" in row},
        "points": {
            point.method: [point.strength, point.moment] for point in reading.points if point.chosen
        },
    }  # fmt: skip


def build(python: str) -> str:
    """The version of the torch that a python has."""
    return subprocess.run([python, "-c", VERSION], check=True, capture_output=True, text=True).stdout.strip()


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, required=True, help="folder for the studies")
    parser.add_argument("--example", default="outline", help="a folder of examples/")
    parser.add_argument("--budget", default="quick")
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2, 4])
    parser.add_argument(
        "--python", nargs="+", default=[], help="with other builds of torch, each with the first number of threads"
    )
    parser.add_argument("--json", type=Path, default=FIGURES)
    given = parser.parse_args()
    words = ["try", str(ROOT / "examples" / given.example), "--budget", given.budget]
    ways = [(sys.executable, threads) for threads in given.threads]
    ways += [(python, given.threads[0]) for python in given.python]
    wanted = [
        Wanted(given.out / name, words, threads, python, given.out / f"{name}-cache")
        for python, threads in ways
        for name in (f"{build(python)}-{threads}",)
    ]
    run_all(wanted, 1)
    runs = [{"torch": one.folder.name.rpartition("-")[0], "threads": one.threads, **said(one.folder)} for one in wanted]
    command = f"python -m recipes.determinism --out OUT --example {given.example} --budget {given.budget}"
    command += f" --threads {' '.join(map(str, given.threads))}{' --python PYTHON' * bool(given.python)}"
    told = {"command": command, "study": command_line(["triptych", "try", f"examples/{given.example}", *words[2:]])}
    given.json.write_text(json.dumps({**told, "runs": runs}, indent=1) + "\n")
    print(given.json)


if __name__ == "__main__":
    main()
