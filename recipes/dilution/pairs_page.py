"""The part of docs/dilution.md on pairs: what loses less than a mix, and the mix that a search found."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from statistics import fmean

from recipes.dilution import records
from recipes.dilution.markdown import said, table
from recipes.dilution.pairs import PAIRS
from recipes.dilution.reading import Study, least, least_more, pooled, preserved
from triptych.units import counted, listed
from triptych.verdict.intervals import Estimate

WAYS = {  # row of a study of a pair -> what it is
    "mix": "the mix that the search found",
    "average-2": "averaged",
    "sum-2": "summed at full strength: both attached",
    "in-turn-2": "one after the other along the steps",
    "alternating-2": "by turns at every step",
    "beside-joint-lora": "one LoRA, trained on both folders",
    "beside-joint-fine-tune": "one fine-tune on both folders",
    "beside-words": "embeddings together (Textual Inversion)",
}


def row_of(study: Study, way: str) -> str:
    """The row of a way in one study: that of embeddings has their names."""
    rows = [mix["name"] for mix in study.told["mixes"] if mix["name"].endswith("-word")]
    return (rows or [way])[0] if way == "beside-words" else way


def more_than(study: Study, file: str, way: str, other: str) -> Estimate | None:
    return study.share(file, {row_of(study, way): 1.0, other: -1.0}) if way != other else None


def ways(by_pair: Mapping[str, Sequence[Study]]) -> list[str]:
    """Every way to have two concepts at once, over all pairs and for each."""
    studies = [study for found in by_pair.values() for study in found]
    concepts = {
        pair: [[(study, file["name"]) for study in found] for file in found[0].told["files"]]
        for pair, found in by_pair.items()
    }
    everything = [own for found in concepts.values() for own in found]
    overall, each = [], []
    for way, title in WAYS.items():
        kept, more = (pooled(everything, partial(more_than, way=way, other=other)) for other in ("base", "average-2"))
        worst = [kept.value for _, kept in filter(None, (least(study, row_of(study, way)) for study in studies))]
        having = [study for study in studies if row_of(study, way) in study.mixed]
        if not worst:
            continue
        stays = fmean(preserved([study], row_of(study, way)) for study in having)
        overall.append([title, f"{len(having)}", said(kept), f"{fmean(worst):.2f}", said(more), f"{stays:.2f}"])
        for pair, found in concepts.items():
            own = [pooled([concept], partial(more_than, way=way, other="base")) for concept in found]
            each += [[pair, title, *map(said, own)]] if any(own) else []
    return [
        f"Pairs of LoRAs, {counted(len(studies), 'training')} in all: how much of what each LoRA adds alone is kept"
        " (1: all), how much of the file that is kept least of, how much more than in the average by the same pictures,"
        " and how far the pictures of other prompts stay:",
        *table(["way", "pairs", "kept", "of the least kept", "more than averaged", "base preservation"], overall),
        "What is kept of the first and of the second file of each pair:",
        *table(["pair", "way", "of the first", "of the second"], sorted(each, key=lambda row: row[0])),
    ]


def searched(studies: Sequence[Study]) -> list[str]:
    """The mix that a search found beside average and sum, by the file that each keeps least of."""
    rows, sure = [], {"average-2": 0, "sum-2": 0}
    for study in studies:
        least_kept = [least(study, row) for row in ("mix", *sure)]
        more = {other: least_more(study, "mix", other) for other in sure}
        for other, interval in more.items():
            sure[other] += interval is not None and interval.low > 0
        name = f"{listed([file['name'] for file in study.told['files']])}, seed {study.seed}"
        kept = (f"{found[1].value:.2f}" if found else "" for found in least_kept)
        tried, _, found = study.told["found"].partition(": on prompts")[0].partition(" is ")
        rows.append([name, tried.split()[3], found, *kept, *map(said, more.values())])
    heads = ["pair", "mixes tried", "found", "it keeps", "the average", "the sum"]
    heads += [f"more than {other}" for other in heads[-2:]]
    return [
        "### The mix that loses least", "",
        f"Of the file that it keeps least of, the searched mix keeps surely more than the average does of its own in"
        f" {sure['average-2']} of {len(rows)} cases (the aim was two thirds), and surely more than the sum in"
        f" {sure['sum-2']}. The prompts of these figures chose nothing.",
        *table(heads, rows),
    ]  # fmt: skip


def read(folder: Path) -> dict[str, list[Study]]:
    """Pair -> its studies, of those that have one."""
    found = {"-".join(names): records.read(folder, f"pairs-{'-'.join(names)}") for names in PAIRS}
    return {pair: [Study("lora", *each) for each in told.items()] for pair, told in found.items() if told}


def instead(by_pair: Mapping[str, Sequence[Study]]) -> list[str]:
    """A sentence on files that are trained on two folders, beside the average of two files."""
    studies = [study for found in by_pair.values() for study in found if "beside-joint-lora" in study.mixed]
    concepts = [[(study, file["name"])] for study in studies for file in study.told["files"]]
    kept = {
        way: pooled(concepts, partial(more_than, way=way, other="base"))
        for way in ("beside-joint-lora", "beside-joint-fine-tune", "average-2")
    }
    if not all(kept.values()):
        return []
    lora, tuned, averaged = map(said, kept.values())
    return [
        f"Trained on both folders at once instead of mixed, for as many steps as two files"
        f" ({counted(len(studies), 'pair')} of LoRAs), one LoRA keeps {lora} of what each LoRA adds alone, and one"
        f" fine-tune {tuned}. The average of the two LoRAs keeps {averaged}."
    ]


def pairs(by_pair: Mapping[str, Sequence[Study]]) -> list[str]:
    """What loses less, for pairs, and the mix that was searched."""
    judged = [study for studies in by_pair.values() for study in studies if study.learned]
    return ["## What loses less", "", *ways(by_pair), *searched(judged)] if judged else []
