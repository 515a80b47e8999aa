"""Writes docs/dilution.md from the studies: python -m recipes.dilution.page --out OUT

What was seen on the pictures and concluded is written by hand, in seen.md beside this file, and taken over.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from math import erf
from pathlib import Path
from statistics import fmean

from recipes.dilution.concepts import ROOT
from recipes.dilution.reading import Study, along, close, foretold_of_another, interval, mean_lost, per_model
from triptych.dilution.page import Points, plot
from triptych.units import listed
from triptych.verdict.intervals import Interval

PAGE = ROOT / "docs" / "dilution.md"
WAYS = {"average": "averaged", "sum": "summed at full strength"}
KINDS = {"lora": "LoRA", "dreambooth": "DreamBooth (checkpoints)"}
COLOURS = ("#0072b2", "#d98c00", "#009e73", "#c44a00")
STYLE = (
    "text{font:11px sans-serif;fill:#66625b}.rail{stroke:#e2ded4;fill:none}.bar{stroke-width:1.5;opacity:.45;fill:none}"
    ".curve{stroke-width:2;fill:none}"
)


def said(interval: Interval | None) -> str:
    return f"{interval.value:.2f} ({interval.low:.2f} to {interval.high:.2f})" if interval else ""


def table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    return ["", *(f"| {' | '.join(row)} |" for row in (heads, ["---"] * len(heads), *rows)), ""]


def picture(name: str, title: str, across: str, lines: Sequence[tuple[str, Points]], folder: Path) -> list[str]:
    """Write a plot as a file of its own, with the names of its lines, and show it."""
    _, drawn, names = plot(title, across, lines)
    colours = "".join(
        f".m{i} .bar,.m{i} .curve{{stroke:{c}}}.m{i} .dot,text.m{i}{{fill:{c}}}" for i, c in enumerate(COLOURS)
    )
    keys, left = "", 44
    for slot, text in names:
        keys += f'<text class="m{slot}" x="{left}" y="-8">{text}</text>'
        left += 6 * len(text) + 14
    head, _, body = str(drawn).partition(">")
    head = head.replace('viewBox="0 0 420 240"', 'xmlns="http://www.w3.org/2000/svg" viewBox="0 -24 420 264"')
    paper = '<rect x="0" y="-24" width="420" height="264" fill="#fff"/>'
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.svg").write_text(
        f"{head}><style>{STYLE}{colours}</style>{paper}{keys}{body}\n", encoding="utf-8"
    )
    return ["", f"![{title}]({folder.name}/{name}.svg)", ""]


def counts(studies: Sequence[Study], folder: Path) -> list[str]:
    kind, name = studies[0].kind, KINDS[studies[0].kind]
    columns = {
        "averaged": along(studies, "count", "average"),
        "alone, at that weight": along(studies, "weight", ""),
        "summed at full strength": along(studies, "count", "sum"),
    }
    columns = {title: points for title, points in columns.items() if points}
    rows = [
        [f"{value:g}", *(said(dict(points).get(value)) for points in columns.values())]
        for value, _ in studies[0].mixes("count", "average")
    ]
    lines = [
        f"### {name}: how many", "", f"The mean over {listed(studies[0].steady())}, which are in every mix:",
        *picture(f"{kind}-count", f"{name}: loss by the number of files", "files in the mix",
                 list(columns.items()), folder),
        *table(["files", *columns], rows),
    ]  # fmt: skip
    for title in WAYS.values():
        steps = [f"{said(more)} from {before:g} to {after:g}" for before, after, more in per_model(columns[title])]
        lines += [f"{title.capitalize()}, each file more costs {', '.join(steps)}.", ""]
    return lines


def concepts(studies: Sequence[Study]) -> list[str]:
    """Each concept with the number of files, over seeds."""
    names = list(dict.fromkeys(name for study in studies for name in study.learned))
    rows = []
    for way, title in WAYS.items():
        for name in names:
            values = [
                mean_lost(study.kept(mix, name) for study in studies) for _, mix in studies[0].mixes("count", way)
            ]
            rows.append([title, name, *map(said, values)])
    heads = ["mix", "concept", *(f"{value:g} files" for value, _ in studies[0].mixes("count", "average"))]
    return ["What each concept loses:", *table(heads, rows)]


def ratios(studies: Sequence[Study], folder: Path) -> list[str]:
    kind, found = studies[0].kind, list[tuple[str, Points]]()
    for name in [file["name"] for file in studies[0].told["files"][:2]]:
        points = []
        for value, mix in studies[0].mixes("ratio"):
            if mean := mean_lost(study.kept(mix, name) for study in studies):
                points.append((value, mean))
        if points:
            found.append((name, points))
    second = studies[0].told["files"][1]["name"]
    generations = along(studies, "generation", "")
    told = ", ".join(f"{said(mean)} after {value:g}" for value, mean in generations)
    return [
        f"### {KINDS[kind]}: along the ratio, and over generations",
        *picture(f"{kind}-ratio", f"{KINDS[kind]}: loss along the ratio", f"share of {second}", found, folder),
        f"A mix of a mix, each time half and half: they lose {told}.", "",
    ]  # fmt: skip


def rest(studies: Sequence[Study]) -> list[str]:
    """What mixes do to prompts without the first concept, and whether concepts go towards each other."""
    rows = []
    for way, title in WAYS.items():
        for value, mix in studies[0].mixes("count", way):
            kept = [row["value"] for study in studies for row in study.told["preservation"] if row["row"] == mix]
            nearer = [
                row["value"] for study in studies for row in study.told["contamination"]
                if row["mix"] == mix and {row["file"], row["towards"]} <= set(study.learned)
            ]  # fmt: skip
            if not kept:
                continue
            rows.append([title, f"{value:g}", f"{fmean(kept):.2f}", f"{fmean(nearer):.2f}" if nearer else ""])
    alone = fmean(row["value"] for study in studies for row in study.told["preservation"] if row["row"] == "alone")
    return [
        f"Base preservation (1: pictures of other prompts stay; the first file alone: {alone:.2f}), and how far a"
        " concept went towards another one (1: all the way):",
        *table(["mix", "files", "base preservation", "towards another"], rows),
    ]


def foretold(studies: Sequence[Study]) -> list[str]:
    lines = []
    for study in studies:
        pairs = [(row["measured"], row["foretold"]) for row in study.told["foretold"]]
        lines.append(
            f"- {KINDS[study.kind]}, seed {study.seed}, each mix by the other mixes of its study: {close(pairs)}."
        )
        for other in studies:
            if other is not study:
                told = close(foretold_of_another(study, other))
                lines.append(
                    f"- {KINDS[study.kind]}, seed {other.seed} by a predictor fitted to seed {study.seed}: {told}."
                )
    spreads = [
        (row["high"] - row["low"]) / 3.92
        for study in studies
        for row in study.told["retention"]
        if row["high"] is not None
    ]
    best = fmean(erf(0.1 / spread / 2**0.5) for spread in spreads if spread)
    return [
        *lines,
        f"- A predictor that knew the truth would be within 0.10 of {best:.0%} of what was measured: so noisy is it.",
    ]


def pairs(out: Path) -> list[str]:
    """What loses less, for pairs, and the mix that was searched."""
    rows, searched = [], []
    for folder in sorted(out.glob("pairs/seed-*/*")):
        name = f"{folder.name}, {folder.parent.name.replace('-', ' ')}"
        if study := _study(folder / "beside"):
            files = [file["name"] for file in study.told["files"]]
            for mix in study.told["mixes"]:
                alone = ", at half its strength" if mix["axis"] == "weight" else ""
                rows.append([name, mix["way"] + alone, *(said(study.kept(mix["name"], file)) for file in files)])
        if study := _study(folder / "measured"):
            found = (folder / "found.txt").read_text(encoding="utf-8").partition(":")[0].removeprefix("the best of ")
            more = {row["file"]: said(interval(row)) for row in study.told["more"]}
            for file in study.learned:
                both = [said(study.kept(mix, file)) for mix in ("mix", "plain-average")]
                searched.append([name, found, file, *both, more.get(file, "")])
    lines = ["## What loses less", "", "What is kept of the first and of the second file (1: all). A sum is what both"
             " files attached at once do."]  # fmt: skip
    lines += table(["pair", "way", "kept of the first", "kept of the second"], rows)
    if searched:
        lines += ["The mix that a search found, on prompts that chose nothing:"]
        lines += table(["pair", "found", "file", "it keeps", "the average keeps", "more"], searched)
    return lines


def _study(folder: Path) -> Study | None:
    page = folder / "dilution.json"
    return Study("lora", 0, json.loads(page.read_text(encoding="utf-8"))) if page.is_file() else None


def write(out: Path, page: Path) -> None:
    folder = page.with_suffix("")
    by_kind = [found for kind in KINDS if (found := Study.read(out, kind))]
    seen = Path(__file__).with_name("seen.md").read_text(encoding="utf-8").rstrip()
    seeds = ", ".join(f"{KINDS[found[0].kind]} {len(found)}" for found in by_kind)
    lines = [
        "# What a mix loses", "", "Generated by", "",
        "    python -m recipes.dilution --out OUT", "    python -m recipes.dilution.page --out OUT", "",
        f"Eight concepts on the embedded base (recipes/dilution/concepts.py). Training seeds: {seeds}.",
        f"{by_kind[0][0].told['pictures_a_row']} pictures of each concept for each mix. Loss is 1 - retention: 0 where"
        " a mix keeps all that a file adds to the class word on the bare base, 1 where it keeps nothing, more where it"
        " is worse than the bare base. In brackets, 95 % intervals from the paired pictures, for these files.",
        "", seen, "", "## Measured", "",
    ]  # fmt: skip
    for found in by_kind:
        left_out = {study.seed: [f["name"] for f in study.told["files"] if not f["learned"]] for study in found}
        none = "; ".join(f"seed {seed}: {', '.join(names)}" for seed, names in left_out.items() if names)
        if not all(study.told["complete"] for study in found):
            lines += [f"**{KINDS[found[0].kind]}: not all mixes are sampled yet.**", ""]
        lines += counts(found, folder)
        lines += [f"Mixed in, but not measured, since alone they are not surely better than the base: {none}.", ""]
        lines += [*concepts(found), *rest(found), *ratios(found, folder)]
    lines += ["## Foretold", "", *(line for found in by_kind for line in foretold(found)), "", *pairs(out)]
    page.write_text("\n".join(lines).rstrip() + "\n", encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="the folder of `python -m recipes.dilution`")
    parser.add_argument("--page", type=Path, default=PAGE)
    given = parser.parse_args()
    write(given.out, given.page)
    print(given.page)


if __name__ == "__main__":
    main()
