"""Checks whether each example can be learned, by LoRA and DreamBooth with the base's own settings.

    python -m recipes.learnable --out OUT

It trains both on every folder of examples/ for the number of steps that the base's description states, and writes
docs/learnable.md with a sheet of pictures per example.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from recipes.first_results import ROOT, sheet
from recipes.running import Wanted, run_all, threads_each
from triptych.report.reading import read
from triptych.units import duration
from triptych.verdict.words import figure, span, title

PAGE = ROOT / "docs" / "learnable.md"
METHODS = ("lora", "dreambooth")
SHOWN = ("fidelity", "prompt_fidelity")


def command(example: Path) -> list[str]:
    """One training of both methods with the settings of the base."""
    return ["try", str(example), "--methods", ",".join(METHODS), "--budget", "standard", "--replicates", "1",
            "--together", "none"]  # fmt: skip


def lines(folder: Path) -> list[str]:
    """The lines of one example: its sheet and its scores."""
    reading = read(folder)
    study, verdict = reading.study, reading.verdict
    markdown = [
        f"## {folder.name}",
        "",
        f"A {study.kind}, {study.pictures} pictures, asked for as `{study.class_word}`.",
        "",
    ]
    markdown += [f"![{folder.name}](learnable/{folder.name}.png)", ""]
    markdown += ["| method | subject fidelity | prompt fidelity | time alone |", "|---|---|---|---|"]
    for name, row in verdict.methods.items():
        cells = [f"{figure(row[what].value)} ({span(row[what])})" if what in row else "" for what in SHOWN]
        markdown.append(f"| {title(name)} | {' | '.join(cells)} | {duration(verdict.costs[name].seconds_alone or 0)} |")
    return [*markdown, ""]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, required=True, help="folder for the studies")
    parser.add_argument("--at-once", type=int, default=1, help="studies at once, which share the processor's cores")
    parser.add_argument("--page", type=Path, default=PAGE)
    given = parser.parse_args()
    examples = sorted(folder.parent for folder in (ROOT / "examples").glob("*/concept.toml"))
    folders = [given.out / example.name for example in examples]
    threads = threads_each(given.at_once)
    pairs = zip(folders, examples, strict=True)
    run_all([Wanted(folder, command(example), threads) for folder, example in pairs], given.at_once)
    pictures = given.page.with_suffix("")
    pictures.mkdir(parents=True, exist_ok=True)
    page = [
        "# What the examples teach",
        "",
        "LoRA and DreamBooth on every example, trained once with the demo base's own settings. Made by",
        "",
        "    python -m recipes.learnable --out OUT",
        "",
        "*Rows of a sheet: some of the pictures; the bare base; LoRA; DreamBooth, with the same prompts and seed.*",
        "Fidelity is 0 for the bare base and 1 for the real pictures; in brackets, 95 % intervals for these files.",
        "There is no fidelity if the bare base is already as near to the pictures as they are to each other.",
        "",
    ]
    for folder in folders:
        sheet(folder).quantize(256).save(pictures / f"{folder.name}.png", optimize=True)
        page += lines(folder)
    given.page.write_text("\n".join(page).rstrip() + "\n", encoding="utf-8")
    print(given.page)


if __name__ == "__main__":
    main()
