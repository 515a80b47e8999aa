"""A verdict over many concepts: each counts once, as a draw from concepts of their kind.

What a method reaches on a concept is its mean there. Over concepts, these means have a random effect of the concept and
of what the method makes of it, and the chance of its study is in them as well. So the concepts take the place that
trainings have in a study: intervals are Student's t between concepts, moderated by the other methods (`moderated`), and
what all methods share in a concept, such as how hard it is, cancels in differences of methods.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from statistics import fmean

import numpy as np

from ..scores import BASE, Cost
from . import verdict_of
from .evidence import BOTH, NORMALISED, Evidence
from .intervals import Interval
from .table import Table
from .values import MARGINS, Anchors, Margins, Need, Verdict

FEWEST = 2  # concepts, from which something can be said over them
PROMPT = "every prompt of its study"


def over_concepts(
    verdicts: Mapping[str, Verdict], *, need: Need = "fidelity", margins: Margins = MARGINS, seed: int = 0
) -> Verdict | None:
    """The verdict over concepts, from those on each. None where fewer than two have a headline figure.

    Args:
        verdicts: concept -> its verdict. One without a headline figure is left out.
        need, margins, seed: as for `judge`.
    """
    usable = {
        name: verdict for name, verdict in verdicts.items() if any(BOTH in row for row in verdict.methods.values())
    }
    if len(usable) < FEWEST:
        return None
    rows = [{BASE: verdict.base, **verdict.methods} for verdict in usable.values()]
    named = (name for row in rows for name in row)
    methods = [name for name in dict.fromkeys(named) if sum(name in row for row in rows) >= FEWEST]
    criteria = dict.fromkeys(criterion for row in rows for own in row.values() for criterion in own)
    tables = {}
    for criterion in criteria:
        if criterion in NORMALISED.values() and criterion not in NORMALISED:
            continue  # it is there as a part of the way
        metric = NORMALISED.get(criterion, criterion)
        cells = {name: np.array([_value(row, name, criterion) for row in rows])[:, None, None] for name in methods}
        known = {name: values for name, values in cells.items() if not np.isnan(values).all()}
        tables[metric] = Table(known, [PROMPT], np.full((1, 1), -1, np.int64))
    nothing, everything = (Interval(value, value, value, len(usable)) for value in (0.0, 1.0))
    evidence = Evidence(
        tables, Anchors(nothing, everything, True), _costs(usable), {}, margins, len(usable), seed=seed, over="concepts"
    )
    order = [name for name in methods if name != BASE]
    return replace(verdict_of(evidence, order, need), notes=tuple(_notes(verdicts, usable)))


def _value(row: Mapping[str, Mapping[str, Interval]], name: str, criterion: str) -> float:
    if name == BASE and criterion in NORMALISED:
        return 0.0  # the floor
    known = row.get(name, {}).get(criterion)
    return known.value if known else np.nan


def _costs(verdicts: Mapping[str, Verdict]) -> dict[str, Cost]:
    """The mean costs of each method."""
    by_method: dict[str, list[Cost]] = {}
    for verdict in verdicts.values():
        for name, cost in verdict.costs.items():
            by_method.setdefault(name, []).append(cost)
    return {name: _mean(costs) for name, costs in by_method.items()}


def _mean(costs: list[Cost]) -> Cost:
    seconds = [cost.seconds_alone for cost in costs if cost.seconds_alone is not None]
    return replace(
        costs[0], file_bytes=round(fmean(cost.file_bytes for cost in costs)),
        seconds_alone=fmean(seconds) if seconds else None,
    )  # fmt: skip


def _notes(verdicts: Mapping[str, Verdict], usable: Mapping[str, Verdict]) -> list[str]:
    notes = [
        f"Each of {len(usable)} concepts counts once. The intervals are of concepts like these, as if these were drawn"
        " at random from them, and include the chance of each study."
    ]
    if left_out := [name for name in verdicts if name not in usable]:
        notes.append(f"Without a headline figure, and left out: {', '.join(left_out)}.")
    return notes
