"""Writes docs/dilution.md from the records of the studies: python -m recipes.dilution.page

What was seen on the pictures and concluded is written by hand, in seen.md beside this file, and taken over; so is
earlier.md, what was measured before records were kept.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from itertools import permutations
from pathlib import Path
from statistics import fmean

import numpy as np

from recipes.dilution import foretelling, records
from recipes.dilution.concepts import ROOT
from recipes.dilution.pairs import PAIRS
from recipes.dilution.reading import Study, along, interval, mean_lost, per_model
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
    for title in (title for title in WAYS.values() if title in columns):
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
        halves = [(0.5, mix) for value, mix in studies[0].mixes("count", "average") if value == 2]
        for value, mix in sorted([*studies[0].mixes("ratio"), *halves]):
            if mean := mean_lost(study.kept(mix, name) for study in studies):
                points.append((value, mean))
        if len(points) > 1:
            found.append((name, points))
    second = studies[0].told["files"][1]["name"]
    generations = along(studies, "generation", "")
    told = ", ".join(f"{said(mean)} after {value:g}" for value, mean in generations)
    if not found and not told:
        return []
    lines = [f"### {KINDS[kind]}: along the ratio, and over generations"]
    if found:
        lines += picture(f"{kind}-ratio", f"{KINDS[kind]}: loss along the ratio", f"share of {second}", found, folder)
    return [*lines, f"A mix of a mix, each time half and half: they lose {told}.", ""] if told else lines


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


def foretold(by_kind: Sequence[Sequence[Study]]) -> list[str]:
    """How many retentions each predictor foretells within 0.10, and how many one could that knows the truth."""
    studies = [study for found in by_kind for study in found]
    rows = []
    for study in studies:
        for reads, read in foretelling.readers(study).items():
            told = {"other mixes": foretelling.of_other_mixes(study, read)}
            if len(study.learned) > 1:
                told["other files"] = foretelling.of_other_files(study, read)
            rows += [[called(study), reads, by, *figures(found)] for by, found in told.items()]
    for seen, other in permutations(studies, 2):
        for (reads, read), its in zip(
            foretelling.readers(seen).items(), foretelling.readers(other).values(), strict=True
        ):
            found = foretelling.of_another(seen, read, other, its)
            rows.append([called(other), reads, f"another study: {called(seen)}", *figures(found)])
    best = [
        [called(study), str(len(study.rows)), f"{np.mean(known):.2f}", f"{foretelling.by_halves(study):.0%}",
         *(f"{foretelling.knowing_the_truth(known, more):.0%}" for more in (1, 2, 4, 8))]
        for study in studies if (known := foretelling.errors(study))
    ]  # fmt: skip
    count = studies[0].told["pictures_a_row"]
    more = [f"with {times * count} pictures" for times in (1, 2, 4, 8)]
    return [
        "How many retentions are foretold within 0.10, of mixes, files or studies that the predictor was not fitted to;"
        " what they are off by; and the predictor's own part of that (root mean square), without the noise of what was"
        " measured:",
        *table(["study", "it reads", "fitted to", "within 0.10", "off by", "its own part"], rows),
        "A predictor that knew the truth would still be off by the noise of what was measured. How many it would"
        " foretell within 0.10, by how far two halves of the pictures are apart, by the standard errors and the bell"
        " curve, and by the latter with more pictures:",
        *table(["study", "retentions", "mean standard error", "by halves", *more], best),
    ]


def called(study: Study) -> str:
    return f"{KINDS[study.kind]}, seed {study.seed}"


def figures(found: foretelling.Pairs) -> list[str]:
    return [f"{found.close:.0%} of {len(found.measured)}", f"{found.off:.2f}", f"{found.own:.2f}"]


def pairs(folder: Path) -> list[str]:
    """What loses less, for pairs, and the mix that was searched."""
    rows, searched = [], []
    for names in PAIRS:
        pair = "-".join(names)
        for seed, told in records.read(folder, f"pairs-{pair}").items():
            name, study = f"{pair}, seed {seed}", Study("lora", seed, told["beside"])
            for mix in study.told["mixes"]:
                alone = ", at half its strength" if mix["axis"] == "weight" else ""
                kept = (said(study.kept(mix["name"], file["name"])) for file in study.told["files"])
                rows.append([name, mix["way"] + alone, *kept])
            found = told["found"].partition(":")[0].removeprefix("the best of ")
            study = Study("lora", seed, told["measured"])
            more = {row["file"]: said(interval(row)) for row in study.told["more"]}
            for file in study.learned:
                both = [said(study.kept(mix, file)) for mix in ("mix", "plain-average")]
                searched.append([name, found, file, *both, more.get(file, "")])
    if not rows:
        return []
    return [
        "## What loses less", "",
        "What is kept of the first and of the second file (1: all). A sum is what both files attached at once do.",
        *table(["pair", "way", "kept of the first", "kept of the second"], rows),
        "The mix that a search found, on prompts that chose nothing:",
        *table(["pair", "found", "file", "it keeps", "the average keeps", "more"], searched),
    ]  # fmt: skip


def write(folder: Path, page: Path) -> None:
    beside = page.with_suffix("")
    by_kind = [found for kind in KINDS if (found := Study.read(folder, kind))]
    seen, earlier = (Path(__file__).with_name(f"{name}.md").read_text(encoding="utf-8") for name in ("seen", "earlier"))
    seeds = ", ".join(f"{KINDS[found[0].kind]} {len(found)}" for found in by_kind)
    lines = [
        "# What a mix loses", "", "Measured and written by", "",
        "    python -m recipes.dilution --out OUT --parts lora --seeds 0", "    python -m recipes.dilution.page", "",
        "The first command writes what a part measured to a record beside this page; the second one makes the page of"
        " all records, so a further seed can be added alone.", "",
        f"Eight concepts on the embedded base (recipes/dilution/concepts.py). Training seeds: {seeds}. {how(by_kind)}"
        " Loss is 1 - retention: 0 where"
        " a mix keeps all that a file adds to the class word on the bare base, 1 where it keeps nothing, more where it"
        " is worse than the bare base. In brackets, 95 % intervals from the paired pictures, for these files.",
        "", seen.rstrip(), "", "## Measured", "",
    ]  # fmt: skip
    for found in by_kind:
        left_out = {study.seed: [f["name"] for f in study.told["files"] if not f["learned"]] for study in found}
        none = "; ".join(f"seed {seed}: {', '.join(names)}" for seed, names in left_out.items() if names)
        if not all(study.told["complete"] for study in found):
            lines += [f"**{KINDS[found[0].kind]}: not all mixes are sampled yet.**", ""]
        lines += counts(found, beside)
        lines += [f"Mixed in, but not measured, since alone they are not surely better than the base: {none}.", ""]
        lines += [*concepts(found), *rest(found), *ratios(found, beside)]
    lines += ["## Foretold", "", *foretold(by_kind), *pairs(folder), earlier]
    page.write_text("\n".join(lines).rstrip() + "\n", encoding="utf-8")


def how(by_kind: Sequence[Sequence[Study]]) -> str:
    """How many pictures there are, and in what precision the base computed."""
    studies = [study.told for found in by_kind for study in found]
    counts = listed(list(dict.fromkeys(str(told["pictures_a_row"]) for told in studies)))
    precisions = listed(list(dict.fromkeys(told["precision"].removeprefix("torch.") for told in studies)))
    return f"{counts} pictures of each concept for each mix, in {precisions} on a processor."


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--records", type=Path, default=records.FOLDER, help="what `python -m recipes.dilution` wrote")
    parser.add_argument("--page", type=Path, default=PAGE)
    given = parser.parse_args()
    write(given.records, given.page)
    print(given.page)


if __name__ == "__main__":
    main()
