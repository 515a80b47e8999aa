"""docs/verdict.md: how the verdict is reached, by hand, and how often it is wrong, from the JSON in docs/verdict/."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.page_parts import curve, percent
from benchmarks.trainings_page import few, prior, threads

FOLDER = Path(__file__).parents[1] / "docs" / "verdict"
PAGE = FOLDER.with_suffix(".md")
HEAD = Path(__file__).with_name("verdict_head.md")


def page(folder: Path) -> str:
    told = json.loads((folder / "simulated.json").read_text())
    shuffled = json.loads((folder / "shuffled.json").read_text())
    stated, trained, last = (json.loads((folder / f"{name}.json").read_text()) for name in ("prior", "few", "growing"))
    parts = [HEAD.read_text(encoding="utf-8").rstrip()]
    parts += ["\n".join(part(told)) for part in (_false, _power, _grades, _curves, _growing)]
    parts += map("\n".join, (_last_looks(last), prior(stated), few(trained), _shuffled(shuffled)))
    if (ways := folder / "threads.json").is_file():
        parts.append("\n".join(threads(json.loads(ways.read_text()))))
    return "\n\n".join(parts) + "\n"


def _between(row: dict[str, Any]) -> str:
    between = row["between"] if isinstance(row["between"], list) else [row["between"]]
    if row["runs"] == 1 and between[0] == 0:
        return "none"
    return " or ".join(f"{value:.2f}" for value in dict.fromkeys(between))


def _size(row: dict[str, Any]) -> str:
    return f"{row['runs']} x {row['prompts']} x {row['seeds']}{', shared' if row['crossed'] else ''}"


def _false(told: dict[str, Any]) -> Iterator[str]:
    yield "### False claims"
    yield ""
    yield (
        f"The share of {told['studies']} studies of four methods with any false claim about the six pairs, and with a"
        " false yes or no among the three answers; at most 5 % are stated. “Equal”: all methods are the same, in"
        " preservation too. “Apart”: two of them are better by exactly the margin. Seeds are the pictures' own, or"
        " shared by all prompts, with a noise of each seed that all methods share (0.05) and one that each makes of it"
        " (0.10)."
    )
    yield ""
    yield (
        "| budget | trainings x prompts x pictures | spread between trainings | pairs: equal | apart | answers: equal |"
        " apart |"
    )
    yield "|---|---|---|---|---|---|---|"
    for row in told["false"]:
        rates = [row[truth][what] for what in (0, 1) for truth in ("equal", "margin")]
        yield f"| {row['name']} | {_size(row)} | {_between(row)} | {' | '.join(map(percent, rates))} |"


def _power(told: dict[str, Any]) -> Iterator[str]:
    yield "### What a budget sees"
    yield ""
    yield "Of two methods among four: how often the better one is called better, and two equal ones no different."
    yield ""
    yield "| budget | spread between trainings | apart by 0.1: better | 0.2 | 0.3 | equal: no difference |"
    yield "|---|---|---|---|---|---|"
    for row in told["power"]:
        better = [row["decisions"][by]["worse"] for by in ("0.1", "0.2", "0.3")]
        same = row["decisions"]["0.0"]["no difference"]
        spread = "these files" if row["runs"] == 1 else _between(row)
        yield f"| {row['name']} | {spread} | {' | '.join(f'{100 * rate:.0f} %' for rate in (*better, same))} |"


def _grades(told: dict[str, Any]) -> Iterator[str]:
    yield "### What is answered"
    yield ""
    yield (
        "Concepts whose methods differ by a standard deviation of 0.20 in both at once and of 0.10 in preservation: how"
        " the three questions are answered."
    )
    yield ""
    yield (
        "| budget | spread between trainings | yes or no | probably, 90 % and more | probably | cannot tell |"
        " false yes or no |"
    )
    yield "|---|---|---|---|---|---|---|"
    for row in told["concepts"]:
        spread = "these files" if row["runs"] == 1 else _between(row)
        cells = [f"{100 * share:.0f} %" for share in row["grades"].values()]
        yield f"| {row['name']} | {spread} | {' | '.join(cells)} | {percent(row['false'])} |"


def _curves(told: dict[str, Any]) -> Iterator[str]:
    yield "### Whether stated probabilities come true"
    yield ""
    yield "The probabilities of the yes and of the no of all these answers, and how often they were true:"
    yield ""
    yield from curve(told["answers"])
    yield ""
    yield (
        "And the regret of recommendations: how often another method was better by more than the margin. Studies of 16"
        " prompts with twice the spreads are added, since with the budgets above regret is small. There it errs on the"
        " high side: methods that were measured far apart by chance are closer in truth."
    )
    yield ""
    yield from curve(told["regret"])


def _growing(told: dict[str, Any]) -> Iterator[str]:
    yield "### Until it is decided"
    yield ""
    yield (
        "Studies that look after a quarter, a half and all of the prompts they may sample, false claims of all looks"
        " counted:"
    )
    yield ""
    yield (
        "| budget | trainings | at most | spread between trainings | false: equal | apart | yes or no | or 90 % sure |"
        " prompts sampled |"
    )
    yield "|---|---|---|---|---|---|---|---|---|"
    for row in told["sequential"]:
        decided = row["grades"]["decided"]
        sure = decided + row["grades"]["probably, 90 % and more"]
        cells = [percent(row["equal"]), percent(row["margin"]), f"{100 * decided:.0f} %", f"{100 * sure:.0f} %"]
        yield (
            f"| {row['budget']} | {row['runs']} | {row['most']} | {_between(row)} | {' | '.join(cells)}"
            f" | {row['prompts']:.0f} on average |"
        )


def _last_looks(told: dict[str, Any]) -> Iterator[str]:
    first = told["rows"][0]
    yield (
        f"The probabilities at the last look, of {first['studies']} studies of concepts of each row, and of as many"
        " with two trainings and the stated prior (`python -m benchmarks.few_trainings --growing --count"
        f" {first['studies']} --json docs/verdict/growing.json`). The rule to stop does not make them wrong: they are"
        " counted over a posterior, which does not depend on why a study ended."
    )
    yield ""
    yield from curve(pooled([row["said"] for row in told["rows"]]))


def pooled(curves: list[list[dict[str, float]]]) -> list[dict[str, float]]:
    """Several curves as one, bin by bin."""
    bins: dict[int, list[dict[str, float]]] = {}
    for row in (row for one in curves for row in one):
        bins.setdefault(min(int(10 * row["predicted"]), 9), []).append(row)
    return [
        {
            "count": (count := sum(row["count"] for row in each)),
            **{what: sum(row["count"] * row[what] for row in each) / count for what in ("predicted", "true")},
        }
        for _, each in sorted(bins.items())
    ]


def _shuffled(told: dict[str, Any]) -> Iterator[str]:
    yield "### Shuffled labels"
    yield ""
    yield (
        f"The scores of a real study ({told['study']} on the demo base, one training, five methods) with the names of"
        f" the methods shuffled within every prompt: how often any of ten pairs is called better or worse, of"
        f" {told['shuffles']} shuffles."
    )
    yield ""
    yield "| criterion | any false claim |"
    yield "|---|---|"
    for name, rate in told["criteria"].items():
        yield f"| {name.replace('_', ' ')} | {percent(rate)} |"
