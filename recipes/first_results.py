"""What triptych finds on the example concepts, over several study seeds, and how often it changes its mind.

    python -m recipes.first_results --out OUT

runs `triptych try` on each concept with study seeds 2, 3, ... and writes docs/first-results.md with a sheet of pictures
per concept. The records of each study are kept in docs/first-results/studies: a study that is in OUT or there is not
run again, so that seeds can be added one by one, on other days and machines. Delete them to begin anew.

A study seed decides everything that is random: the training's start and its noise, the seeds of the pictures, the
draws. One study has one training of each method; the last column judges all of them at once, with the study seeds as
training seeds.
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from statistics import fmean

import numpy as np
from PIL import Image

from recipes.kept_studies import keep, unpack
from recipes.running import Wanted, run_all, threads_each
from triptych.report.reading import Reading, read
from triptych.report.table import CRITERIA
from triptych.report.view import NEED_WORDS
from triptych.scores import BASE
from triptych.study.joining import judged_as_one
from triptych.units import duration, size
from triptych.verdict import NEEDS, Verdict
from triptych.verdict.reinforce import question
from triptych.verdict.summary import QUESTIONS
from triptych.verdict.words import figure, span, title

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "first-results.md"
COMMON = "all,word+lora,dreambooth+lora"
CONCEPTS = {  # with the combinations that are sampled
    "outline": COMMON,
    "negative": "none",
    "blob-cat": "leave-one-out,dreambooth+lora",
    "koala": "none",
    "night": COMMON,
    "menagerie": "none",
}
SHOWN = ("both", "fidelity", "prompt_fidelity", "base_preservation", "leakage", "memorisation", "portability")
SIDES = ({"yes", "probably"}, {"no", "probably not"})  # of the graded answers
COLUMNS, TILE = 8, 96  # of a sheet: prompts, and the side of a picture in pixels


@dataclass(frozen=True)
class Found:
    """The studies of one concept, in the order of their seeds."""

    concept: str
    folders: tuple[Path, ...]

    @cached_property
    def readings(self) -> list[Reading]:
        return [read(folder) for folder in self.folders]

    def pooled(self) -> Verdict:
        """All studies judged as one, each of them one training seed of it."""
        return judged_as_one(self.folders)


def command(given: argparse.Namespace, concept: str, seed: int) -> list[str]:
    """The study of one concept with one seed, as one would type it."""
    words = [
        "try",
        str(ROOT / "examples" / concept),
        "--budget",
        given.budget,
        "--replicates",
        "1",
        "--seed",
        str(seed),
    ]
    words += ["--together", CONCEPTS[concept]]
    words += ["--other-base", given.other_base] if given.other_base else []
    return words


def flips(said: Sequence[str]) -> str:
    """`yes 3, undecided 2: 2 of 5 differ`: what was said, and how many did not say what most did."""
    counted = Counter(said).most_common()
    counts = ", ".join(f"{what} {times}" for what, times in counted)
    return f"{counts} | {len(said) - counted[0][1]} of {len(said)}"


def page(given: argparse.Namespace, found: Sequence[Found]) -> str:
    """docs/first-results.md."""
    first = found[0].readings[0]
    asked = f"python -m recipes.first_results --out OUT --seeds {given.seeds} --first-seed {given.first_seed}"
    asked += f" --budget {given.budget}"
    asked += f" --other-base {given.other_base}" if given.other_base else ""
    asked += f" --at-once {given.at_once}" if given.at_once > 1 else ""
    shared = " Times are of a processor that several studies shared." if given.at_once > 1 else ""
    lines = [
        "# First results",
        "",
        f"What triptych says of its example concepts on the base `{first.study.base}`, and how often it says something",
        f"else when only the seed of the study changes. Studies of each concept: {given.seeds}, of the budget",
        f"`{given.budget}`, with one training of each method. Made by",
        "",
        f"    {asked}",
        "",
        "A figure is the mean over the studies; in brackets the least and the greatest of them. That is no confidence",
        "interval: it shows how far one study may be from another. **All judged at once** takes the studies as so many",
        "training seeds of one, so its 95 % intervals include the spread between trainings. What few trainings tell of",
        "it is joined with what the base states, which was estimated from studies of these same concepts with seeds",
        f"0 and 1, each foretold well by the others ([the verdict](verdict.md)).{shared}",
        "",
    ]
    for heading, name in (("Blind votes", "votes.md"), ("Looked at", "looked-at.md")):
        if (written := given.page.with_suffix("") / name).is_file():
            lines += [f"## {heading}", "", *written.read_text(encoding="utf-8").splitlines(), ""]
    for one in found:
        lines += concept_lines(one)
    lines += ["## All concepts together", "", *over_all(found)]
    return "\n".join(lines).rstrip() + "\n"


def concept_lines(one: Found) -> list[str]:
    """One concept: sheet, table, answers, needs."""
    readings = one.readings
    verdicts, pooled = [reading.verdict for reading in readings], one.pooled()
    study = readings[0].study
    kind = f"{study.kind}, {study.pictures} pictures, asked for as `{study.class_word}`"
    floors = [verdict.anchors for verdict in verdicts]
    lines = [f"## {one.concept}", "", f"A {kind}.", "", f"![{one.concept}](first-results/{one.concept}.png)", ""]
    lines += [
        "*Rows: some of the pictures; the bare base; then the methods in the order of the table, with the same prompts",
        "and seeds.*",
        "",
        f"Floor {_mean([each.floor.value for each in floors if each.floor])}, ceiling"
        f" {_mean([each.ceiling.value for each in floors if each.ceiling])} (cosine).",
        "",
    ]
    return lines + table(verdicts, pooled) + answers(verdicts, pooled) + needs(verdicts, pooled)


def table(verdicts: Sequence[Verdict], pooled: Verdict) -> list[str]:
    """A row a method."""
    known = [name for name in SHOWN if any(name in row for row in pooled.methods.values())]
    titles = [CRITERIA[name].title.lower() for name in known]
    lines = [f"| method | {' | '.join(titles)} | both at once, all studies judged as one | file | time alone |"]
    lines.append("|---" * (len(known) + 4) + "|")
    rows = [{BASE: verdict.base, **verdict.methods} for verdict in verdicts]
    for name, row in {BASE: pooled.base, **pooled.methods}.items():
        each = [[one[name][what].value for one in rows if what in one.get(name, {})] for what in known]
        whole = f"{figure(row['both'].value)} ({span(row['both'])})" if "both" in row else ""
        cost = verdicts[0].costs.get(name)
        seconds = duration(cost.seconds_alone) if cost and cost.seconds_alone is not None else ""
        cells = [_spread(values) for values in each]
        lines.append(
            f"| {title(name)} | {' | '.join(cells)} | {whole} | {size(cost.file_bytes) if cost else ''} | {seconds} |"
        )
    return [*lines, ""]


def answers(verdicts: Sequence[Verdict], pooled: Verdict) -> list[str]:
    """The three questions, and those about combinations."""
    lines = ["| question | said by the studies | differ from most | all judged at once |", "|---|---|---|---|"]
    for name, (_, asked) in QUESTIONS.items():
        said = [verdict.answers[name].answer for verdict in verdicts]
        lines.append(f"| {asked} | {flips(said)} | **{pooled.answers[name].answer}** |")
    for name, answer in pooled.together.items():
        said = [verdict.together[name].answer for verdict in verdicts if name in verdict.together]
        lines.append(f"| {question(name)} | {flips(said)} | **{answer.answer}** |")
    bullets = [f"- {QUESTIONS[name][1]} {answer.evidence}" for name, answer in pooled.answers.items()]
    bullets += [f"- {question(name)} {answer.evidence}" for name, answer in pooled.together.items()]
    bullets += [f"- {note}" for note in pooled.notes]
    return [*lines, "", "All judged at once:", "", *bullets, ""]


def needs(verdicts: Sequence[Verdict], pooled: Verdict) -> list[str]:
    """What to take for each need."""
    lines = ["| what matters | recommended | differ from most | all judged at once |", "|---|---|---|---|"]
    for need in NEEDS:
        said = [_take(verdict.recommendation.by_need[need].method) for verdict in verdicts]
        lines.append(
            f"| {NEED_WORDS[need][0]} | {flips(said)} | **{_take(pooled.recommendation.by_need[need].method)}** |"
        )
    return [*lines, ""]


def over_all(found: Sequence[Found]) -> list[str]:
    """How often an answer changes with the seed, over all concepts."""
    verdicts = [[reading.verdict for reading in one.readings] for one in found]
    questions = [[v.answers[name].answer for v in each] for each in verdicts for name in QUESTIONS]
    taken = [[_take(v.recommendation.by_need[need].method) for v in each] for each in verdicts for need in NEEDS]
    turned = sum({"yes", "no"} <= set(said) for said in questions)
    apart = sum(all(side & set(said) for side in SIDES) for said in questions)
    return [
        "- An answer to one of the three questions differed from what most studies of its concept said in"
        f" {_off(questions)}.",
        f"- It was turned round (yes in one study, no in another) for {turned} of {len(questions)} questions; yes or"
        f" probably in one, and no or probably not in another, for {apart}.",
        f"- A recommendation differed from what most studies of its concept said in {_off(taken)}.",
    ]


def _off(groups: Sequence[Sequence[str]]) -> str:
    off = sum(len(said) - Counter(said).most_common(1)[0][1] for said in groups)
    return f"{off} of {sum(map(len, groups))} cases"


def _take(method: str | None) -> str:
    return title(method) if method else "none"


def _mean(values: Sequence[float]) -> str:
    return figure(fmean(values)) if values else "?"


def _spread(values: Sequence[float]) -> str:
    return f"{_mean(values)} ({figure(min(values))} to {figure(max(values))})" if values else ""


def sheet(folder: Path) -> Image.Image:
    """Some of the pictures, the bare base, and each single method and combination, one picture of each prompt."""
    reading = read(folder)
    sheets = {one.method: one for one in reading.sheets if one.role == "concept" and one.replicate == 0}
    rows = [[Image.open(path) for path in reading.thumbs[:COLUMNS]]]
    shown = list(dict.fromkeys(picture.prompt for picture in sheets["base"].pictures))[:COLUMNS]
    for name in ("base", *reading.verdict.methods):
        first = {picture.prompt: picture for picture in reversed(sheets[name].pictures)}
        rows.append([Image.open(first[prompt].path) for prompt in shown])
    tiles = [
        [np.asarray(one.convert("RGB").resize((TILE, TILE), Image.Resampling.LANCZOS)) for one in row] for row in rows
    ]
    blank = np.full((TILE, TILE, 3), 255, np.uint8)
    return Image.fromarray(
        np.concatenate([np.concatenate([*row, *[blank] * (COLUMNS - len(row))], axis=1) for row in tiles])
    )


def run(given: argparse.Namespace, found: Sequence[Found], kept: Path) -> None:
    """Run the studies that are neither there nor kept in the folder `kept`, and keep them."""
    places = {
        folder: (kept / f"{each.concept}-{seed}.zip", command(given, each.concept, seed))
        for each in found
        for seed, folder in enumerate(each.folders, given.first_seed)
    }
    for folder, (place, _) in places.items():
        if place.is_file() and not folder.exists():
            unpack(place, folder)
    threads = threads_each(given.at_once)
    run_all([Wanted(folder, words, threads) for folder, (place, words) in places.items() if not place.is_file()],
            given.at_once)  # fmt: skip
    for folder, (place, _) in places.items():
        if not place.is_file():
            keep(folder, place, ROOT)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, required=True, help="folder for the studies")
    parser.add_argument(
        "--concepts", nargs="+", default=list(CONCEPTS), choices=list(CONCEPTS), help="folders of examples/"
    )
    parser.add_argument("--seeds", type=int, default=5, help="studies of each concept")
    parser.add_argument("--first-seed", type=int, default=2, help="the first of them; the stated prior is of 0 and 1")
    parser.add_argument("--budget", default="quick")
    parser.add_argument("--other-base", default="demo-b", help="a second base of the family, for portability")
    parser.add_argument("--at-once", type=int, default=1, help="studies at once, which share the processor's cores")
    parser.add_argument("--page", type=Path, default=PAGE)
    given = parser.parse_args()
    seeds = range(given.first_seed, given.first_seed + given.seeds)
    found = [Found(name, tuple(given.out / name / str(seed) for seed in seeds)) for name in given.concepts]
    pictures = given.page.with_suffix("")
    run(given, found, pictures / "studies")
    for each in found:
        if read(each.folders[0]).sheets:
            sheet(each.folders[0]).quantize(256).save(pictures / f"{each.concept}.png", optimize=True)
    given.page.write_text(page(given, found), encoding="utf-8")
    print(given.page)


if __name__ == "__main__":
    main()
