"""Writes docs/dilution.md from the records of the studies: python -m recipes.dilution.page

What was seen on the pictures and concluded is written by hand, in seen.md beside this file, and taken over.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean

import numpy as np

from recipes.dilution import foretelling, pairs_page, records
from recipes.dilution.concepts import ROOT
from recipes.dilution.foretelling import DISTANCE, LEARNERS
from recipes.dilution.markdown import picture, said, table
from recipes.dilution.reading import Study, along, difference, per_model, pooled, preserved, steady
from triptych.dilution.page import Points
from triptych.units import counted, listed

PAGE = ROOT / "docs" / "dilution.md"
WAYS = {"average": "averaged", "sum": "summed at full strength"}
KINDS = {"lora": "LoRA", "dreambooth": "DreamBooth (checkpoints)"}
OVERLAP = "the overlap of weights"
HEADS = ("within 0.10", "off by", "its own part")
AXES = {"count": "the number of files", "ratio": "the ratio of two", "generation": "generations"}
ORDINALS = {2: "second", 3: "third", 4: "fourth"}
QUOTE = '"The information in mixed models gets slightly diluted for every model that is mixed into it"'
SLIGHT = 0.1  # of what a file adds: what a model more may cost and still be called slight


def answer(studies: Sequence[Study]) -> str:
    """Whether a kind of file bears out that each model more dilutes slightly, and by how much each does."""
    steps = per_model(studies, "average")
    second = steps[0][2]
    dilutes = "supported" if second.low > 0 else "refuted" if second.high < 0 else "not decided"
    slightly = "supported" if second.high <= SLIGHT else "refuted" if second.low > SLIGHT else "not decided"
    costs = ", ".join(
        [f"the {ORDINALS.get(int(after), f'next, up to {after:g},')} {said(more)}" for _, after, more in steps]
    )
    return (
        f'**{kind_of(studies[0])}: that it dilutes is {dilutes}, "slightly" is {slightly}.** Averaged, each file'
        f" more costs, of what a file adds to the bare base: {costs}."
    )


def parts(studies: Sequence[Study]) -> list[str]:
    """What the loss of the second file is made of, and what the other ways lose, as entries of a list."""
    name, steps, lines = kind_of(studies[0]), per_model(studies, "sum"), []
    weaker = pooled(steady(studies), lambda study, file: study.lost(own_weight(study, file), file))
    other = pooled(
        steady(studies), lambda study, file: study.share(file, {own_weight(study, file): 1.0, "average-2": -1.0})
    )
    if weaker and other:
        lines.append(
            f"Of the second file's cost {said(weaker)} is the lower weight alone, and {said(other)} the other file."
        )
    if steps:
        lines.append(f"Summed at full strength, which equals both attached, the second costs {said(steps[0][2])}.")
    if chain := along(studies, "generation"):
        lost = ", then ".join(said(mean) for _, mean in chain)
        lines.append(f"Mixed again and again half and half, files have lost {lost}.")
    return [f"- {name}. {line}" for line in lines]


def own_weight(study: Study, file: str) -> str:
    """The row of a file alone, at the weight that it has in an average of two."""
    place = [each["name"] for each in study.told["files"]].index(file) + 1
    return f"weight-2-{place}"


def counts(studies: Sequence[Study], folder: Path) -> list[str]:
    name = kind_of(studies[0])
    columns = {
        "averaged": along(studies, "count", "average"),
        "alone, at that weight": along(studies, "weight"),
        "summed at full strength": along(studies, "count", "sum"),
    }
    columns = {title: points for title, points in columns.items() if points}
    rows = [
        [f"{value:g}", *(said(dict(points).get(value)) for points in columns.values())]
        for value, _ in studies[0].mixes("count", "average")
    ]
    names = [own[0][1] for own in steady(studies)]
    lines = [
        f"### {name}: how many", "", f"The mean over {listed(names)}, which are in every mix:",
        *picture(f"{slug(studies[0])}-count", f"{name}: loss by the number of files", "files in the mix",
                 list(columns.items()), folder),
        *table(["files", *columns], rows),
    ]  # fmt: skip
    for way, title in WAYS.items():
        steps = [f"{said(more)} from {before:g} to {after:g}" for before, after, more in per_model(studies, way)]
        lines += [f"{title.capitalize()}, each file more costs {', '.join(steps)}.", ""] if steps else []
    return lines


def concepts(studies: Sequence[Study]) -> list[str]:
    """Each concept with the number of files, over trainings."""
    names = list(dict.fromkeys(name for study in studies for name in study.learned))
    rows = []
    for way, title in WAYS.items():
        for name in names:
            own = [[(study, name) for study in studies]]
            values = [difference(own, {"alone": 1.0, mix: -1.0}) for _, mix in studies[0].mixes("count", way)]
            rows.append([title, name, *map(said, values)])
    heads = ["mix", "concept", *(f"{value:g} files" for value, _ in studies[0].mixes("count", "average"))]
    return ["What each concept loses:", *table(heads, rows)]


def ratios(studies: Sequence[Study], folder: Path) -> list[str]:
    name, found = kind_of(studies[0]), list[tuple[str, Points]]()
    halves = [(0.5, mix) for value, mix in studies[0].mixes("count", "average") if value == 2]
    for own in steady(studies):
        each = [
            (value, difference([own], {"alone": 1.0, mix: -1.0}))
            for value, mix in sorted([*studies[0].mixes("ratio"), *halves])
        ]
        points = [(value, mean) for value, mean in each if mean]
        if len(points) > 1:
            found.append((own[0][1], points))
    if not found:
        return []
    second = studies[0].told["files"][1]["name"]
    return [
        f"### {name}: along the ratio",
        *picture(f"{slug(studies[0])}-ratio", f"{name}: loss along the ratio", f"share of {second}", found, folder),
    ]


def rest(studies: Sequence[Study]) -> list[str]:
    """What mixes do to prompts without the first concept, and whether concepts go towards each other."""
    rows = []
    for way, title in WAYS.items():
        for value, mix in studies[0].mixes("count", way):
            nearer = [
                row["value"] for study in studies for row in study.told["contamination"]
                if row["mix"] == mix and {row["file"], row["towards"]} <= set(study.learned)
            ]  # fmt: skip
            rows.append(
                [title, f"{value:g}", f"{preserved(studies, mix):.2f}", f"{fmean(nearer):.2f}" if nearer else ""]
            )
    return [
        "Base preservation (1: pictures of other prompts stay; the first file alone:"
        f" {preserved(studies, 'alone'):.2f}), and how far a concept went towards another one (1: all the way):",
        *table(["mix", "files", "base preservation", "towards another"], rows),
    ]


def foretold(by_kind: Sequence[Sequence[Study]]) -> list[str]:
    """How many retentions each predictor foretells within 0.10, by what and whose, and how many could be foretold."""
    studies = [study for found in by_kind for study in found]
    axes = [
        [title, *figures(foretelling.joined(foretelling.of_other_mixes(s, LEARNERS[DISTANCE], axis) for s in studies))]
        for axis, title in AXES.items()
    ]
    concepts = []
    for found in by_kind:
        own = foretelling.joined(foretelling.of_other_mixes(study, LEARNERS[DISTANCE]) for study in found)
        names = dict.fromkeys(name for study in found for name in study.learned)
        concepts += [[kind_of(found[0]), name, *figures(own.of(name))] for name in names]
    return [
        "## Foretold", "",
        "How many retentions are foretold within 0.10, of mixes, files or trainings that the predictor was not fitted"
        " to, over all trainings; what they are off by on average; and the predictor's own part of that (root mean"
        " square), without the noise of what was measured. The curve over the distance is one of six forms. It was"
        " chosen by a training of LoRA with other settings (300 steps at 0.002), which is not among these:",
        *table(["files", "it reads", "fitted to", *HEADS], [row for found in by_kind for row in predicted(found)]),
        "The distance, fitted to the other mixes of each study, by what the mixes vary:",
        *table(["mixes", *HEADS], axes),
        "And by concept:", *table(["files", "concept", *HEADS], concepts), *best(studies),
    ]  # fmt: skip


def predicted(studies: Sequence[Study]) -> list[list[str]]:
    """One kind of file: the rows of the table of predictors."""
    rows, (first, *later) = [], studies
    for reads in (*LEARNERS, OVERLAP):
        learned = [(study, LEARNERS.get(reads) or foretelling.by_overlap(study)) for study in studies]
        told = {
            "its other mixes": [foretelling.of_other_mixes(study, learn) for study, learn in learned],
            "its other files": [
                foretelling.of_other_files(study, learn) for study, learn in learned if len(study.learned) > 1
            ],
            f"the training with seed {first.seed}": [
                foretelling.of_another(first, study, LEARNERS[reads]) for study in later if reads in LEARNERS
            ],
        }
        joined = {by: foretelling.joined(found) for by, found in told.items() if found}
        rows += [[kind_of(first), reads, by, *figures(found)] for by, found in joined.items()]
    return rows


def best(studies: Sequence[Study]) -> list[str]:
    """How many retentions could be foretold by knowing the truth, since what was measured is off, too."""
    rows = []
    for study in studies:
        known = list(foretelling.errors(study).values())
        pictures = (f"{foretelling.knowing_the_truth(known, more):.0%}" for more in (1, 2, 4, 8))
        halves = f"{foretelling.by_halves(study):.0%}"
        rows.append([called(study), str(len(known)), f"{np.mean(known):.2f}", halves, *pictures])
    count = studies[0].told["pictures_a_row"]
    return [
        "A predictor that knew the truth would still be off by the noise of what was measured. How many it would"
        " foretell within 0.10, by how far two halves of the pictures are apart, by the standard errors and the bell"
        " curve, and by the latter with more pictures:",
        *table(
            ["study", "retentions", "mean standard error", "by halves", f"with {count} pictures", "twice as many",
             "four times", "eight times"], rows,
        ),
    ]  # fmt: skip


def slug(study: Study) -> str:
    return f"{study.kind}-{study.told['trained']['steps']}"


def kind_of(study: Study) -> str:
    return f"{KINDS[study.kind]}, {study.trained}"


def called(study: Study) -> str:
    return f"{kind_of(study)}, seed {study.seed}"


def figures(found: foretelling.Pairs) -> list[str]:
    return [f"{found.close:.0%} of {len(found.told)}", f"{found.off:.2f}", f"{found.own:.2f}"]


def write(folder: Path, page: Path) -> None:
    by_kind = [found for kind in KINDS for found in Study.read(folder, kind)]
    by_pair = pairs_page.read(folder)
    seen = Path(__file__).with_name("seen.md").read_text(encoding="utf-8")
    lines = [
        "# What a mix loses", "", f"{QUOTE}:", "", *(f"- {answer(found)}" for found in by_kind), "",
        "What that is made of, and what else loses:", "",
        *(line for found in by_kind for line in parts(found)), *(f"- {line}" for line in pairs_page.instead(by_pair)),
        "", *made(by_kind), "", *pairs_page.pairs(by_pair), *foretold(by_kind),
        seen.rstrip(), "", "## Measured", "",
    ]  # fmt: skip
    for found in by_kind:
        lines += measured(found, page.with_suffix(""))
    page.write_text("\n".join(lines).rstrip() + "\n", encoding="utf-8")


def made(by_kind: Sequence[Sequence[Study]]) -> list[str]:
    """By what the page is made, and how its figures are to be read."""
    seeds = listed([f"{counted(len(found), 'training')} of each {kind_of(found[0])}" for found in by_kind])
    return [
        "Measured and written by", "",
        "    python -m recipes.dilution --out OUT --parts lora,dreambooth,pairs --seeds 0,1,2",
        "    python -m recipes.dilution.page", "",
        "The first command writes what a part measured with a training seed to a record in docs/dilution/records, the"
        " second one makes the page of all records. So further seeds can be added one by one.", "",
        f"Eight concepts on the embedded base (recipes/dilution/concepts.py), {seeds}, {how(by_kind)} Loss is 1 -"
        " retention: 0 where a mix keeps all that a file adds to the class word on the bare base, 1 where it keeps"
        " nothing, more where it is worse than the bare base. In brackets are 95 % intervals, the wider of two: from"
        " the paired pictures, for these very files, and from how far the trainings lie apart, where there are"
        f' several. "Slightly" is taken as at most {SLIGHT:g} a model, a limit that was set when one training of each'
        " LoRA was known.",
    ]  # fmt: skip


def measured(studies: Sequence[Study], beside: Path) -> list[str]:
    """All that was measured of one kind of file."""
    left_out = {study.seed: [f["name"] for f in study.told["files"] if not f["learned"]] for study in studies}
    none = "; ".join(f"seed {seed}: {', '.join(names)}" for seed, names in left_out.items() if names)
    notes = []
    if not all(study.told["complete"] for study in studies):
        notes += ["**Not all mixes are sampled yet.**", ""]
    if none:
        notes += [f"Mixed in, but not measured, since alone they are not surely better than the base: {none}.", ""]
    return [*counts(studies, beside), *notes, *concepts(studies), *rest(studies), *ratios(studies, beside)]


def how(by_kind: Sequence[Sequence[Study]]) -> str:
    """How many pictures there are, and in what precision the base computed."""
    studies = [study.told for found in by_kind for study in found]
    counts = listed(list(dict.fromkeys(str(told["pictures_a_row"]) for told in studies)))
    precisions = " and ".join(dict.fromkeys(told["precision"].removeprefix("torch.") for told in studies))
    return f"with {counts} pictures of each concept for each mix, in {precisions} on a processor."


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--records", type=Path, default=records.FOLDER, help="what `python -m recipes.dilution` wrote")
    parser.add_argument("--page", type=Path, default=PAGE)
    given = parser.parse_args()
    write(given.records, given.page)
    print(given.page)


if __name__ == "__main__":
    main()
