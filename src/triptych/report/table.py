"""The criteria as columns of a table of intervals, and the paired differences as one table per criterion."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from ..metrics.components import PREFIX
from ..scores import BASE
from ..verdict import Difference, Verdict
from ..verdict.intervals import Interval
from ..verdict.words import figure, span
from . import plots
from .colours import slot

DECISIONS = {
    "better": "better than", "worse": "worse than", "no difference": "no difference that matters from",
    "undecided": "undecided against",
}  # fmt: skip


@dataclass(frozen=True)
class Criterion:
    """A column of the table of measurements. `limits` are the ends of its axis, `named` are its ticks with labels."""

    title: str
    meaning: str
    limits: tuple[float, float] | None = None
    named: tuple[tuple[float, str], ...] = ()
    more: bool = False  # shown under "Further criteria"
    from_floor: bool = False  # 0 is the bare base


CRITERIA = {
    "both": Criterion(
        "Both at once", "likeness times prompt fidelity, per picture; 1: your pictures with everything in the prompt",
        named=((0, "nothing 0"), (1, "all 1")), from_floor=True,
    ),
    "fidelity": Criterion(
        "Subject fidelity", "0: the class word on the bare base; 1: your own pictures",
        named=((0, "floor 0"), (1, "ceiling 1")), from_floor=True,
    ),
    "prompt_fidelity": Criterion(
        "Prompt fidelity",
        "product over what the prompt names; 0: chance, 1: as in real pictures; mark: yours by their captions",
        (0, 1),
    ),
    "base_preservation": Criterion(
        "Base preservation", "unrelated prompts; 1: the same picture, 0: one of another prompt; mark: another seed",
    ),
    "leakage": Criterion(
        "Leakage", "how far the class word alone moves towards yours, on the scale of fidelity; lower is better",
        named=((0, "none 0"),), from_floor=True,
    ),
    "memorisation": Criterion(
        "Memorisation", "closer to training than to held-out pictures; more than the bare base is suspect",
    ),
    "portability": Criterion(
        "Portability", "fidelity on another base of the family", named=((0, "floor 0"), (1, "ceiling 1")),
        from_floor=True,
    ),
    "copying": Criterion("Copying", "share of pictures that copy a training picture", (0, 1), more=True),
    "class_drift": Criterion("Class drift", "how far the class word alone has moved, in any direction", more=True),
    "prompt_thing": Criterion("The thing", "whether the thing is there, by its rank among all", (0, 1), more=True),
    "prompt_background": Criterion("The background", "by the rank of its colour", (0, 1), more=True),
    "prompt_place": Criterion("The place", "whether it is where the prompt says", (0, 1), more=True),
    "prompt_size": Criterion("The size", "by the bounding box of the drawing", (0, 1), more=True),
    "clip_score": Criterion(
        "CLIPScore", "2.5 times the cosine of picture and prompt, as papers report it; decides nothing", more=True
    ),
    "diversity": Criterion("Diversity", "how different the pictures of one prompt are", more=True),
    "vendi": Criterion("Vendi score", "effective number of different pictures per prompt", more=True),
    "consistency": Criterion("Consistency", "how similar the pictures of different prompts are", more=True),
    "subject_fidelity": Criterion("Similarity", "cosine to your pictures; marks: floor and ceiling", more=True),
    "centroid_distance": Criterion(
        "Centroid distance", "squared distance to the mean of yours; lower is better", more=True
    ),
}  # fmt: skip


@dataclass(frozen=True)
class Cell:
    value: str
    span: str
    plot: Markup


@dataclass(frozen=True)
class Column:
    criterion: Criterion
    cells: tuple[Cell | None, ...]  # one per row of the table
    axis: Markup


@dataclass(frozen=True)
class Pair:
    """Two methods compared in one criterion. `words` state the decision."""

    difference: Difference
    words: str
    plot: Markup


@dataclass(frozen=True)
class Comparison:
    criterion: str
    margin: str  # "" where none is stated
    pairs: tuple[Pair, ...]
    axis: Markup
    summary: str  # how many pairs are decided


def columns(verdict: Verdict, rows: Sequence[str], more: bool) -> list[Column]:
    """The columns of the main criteria, or of the further ones. An unknown criterion is a further one."""
    table = {BASE: verdict.base, **verdict.methods}
    found = {name for row in rows for name in table[row]}
    order = [name for name in CRITERIA if name in found] + sorted(found - CRITERIA.keys())
    chosen = [name for name in order if criterion_named(name).more == more]
    return [_column(name, [table[row].get(name) for row in rows], rows, verdict) for name in chosen]


def criterion_named(name: str) -> Criterion:
    """The criterion of that name. A base names the components of its prompts, so some names are not in `CRITERIA`."""
    plain = name.removeprefix(PREFIX).replace("_", " ")
    return CRITERIA.get(name, Criterion(plain.capitalize(), "", more=True))


def _column(name: str, intervals: Sequence[Interval | None], rows: Sequence[str], verdict: Verdict) -> Column:
    criterion = criterion_named(name)
    named = _named(name, verdict) or criterion.named
    marks = [value for value, _ in named]
    ends = [
        end
        for interval in intervals
        if interval
        for end in (interval.low, interval.high, interval.value)
        if math.isfinite(end)
    ] + marks
    low, high = criterion.limits or (min(ends), max(ends))
    room = 0.0 if criterion.limits else max(high - low, 0.02) * 0.06
    scale = plots.Scale(low - room, high + room, 4, 116)
    cells = [
        Cell(figure(interval.value), span(interval), Markup(plots.strip(interval, scale, slot(row), marks)))
        if interval
        else None
        for row, interval in zip(rows, intervals, strict=True)
    ]
    if criterion.from_floor:
        floor = Interval(0.0, -math.inf, math.inf, 0)
        cells[rows.index(BASE)] = Cell("0", "the floor", Markup(plots.strip(floor, scale, slot(BASE), marks)))
    ticks = named if len(named) > 1 else (*named, *((end, plots.label(round(end, 2))) for end in (low, high)))
    return Column(criterion, tuple(cells), Markup(plots.axis(scale, ticks)))


def _named(name: str, verdict: Verdict) -> tuple[tuple[float, str], ...]:
    """The ticks that come from a criterion's anchors: floor and ceiling, real pictures, or the reseeded base."""
    anchors = verdict.anchors
    if name == "prompt_fidelity" and anchors.prompts is not None:
        return ((0.0, "0"), (anchors.prompts, f"yours {figure(anchors.prompts)}"))
    if name == "base_preservation" and anchors.reseeded is not None:
        return ((anchors.reseeded, f"reseeded {figure(anchors.reseeded)}"), (1.0, "same 1"))
    ends = (anchors.floor, anchors.ceiling) if name == "subject_fidelity" else ()
    return tuple((interval.value, figure(interval.value)) for interval in ends if interval)


def comparisons(verdict: Verdict) -> list[Comparison]:
    """The paired differences, one table per criterion, in the order of the columns."""
    by_criterion: dict[str, list[Difference]] = {name: [] for name in CRITERIA}
    for difference in verdict.differences:
        by_criterion.setdefault(difference.criterion, []).append(difference)
    return [_comparison(name, pairs) for name, pairs in by_criterion.items() if pairs]


def _comparison(name: str, differences: Sequence[Difference]) -> Comparison:
    margin = differences[0].margin
    ends = [
        end
        for difference in differences
        for end in (difference.interval.low, difference.interval.high, difference.interval.value)
    ]
    far = max([abs(end) for end in ends if math.isfinite(end)] + [1.3 * (margin or 0.0), 1e-3])
    scale = plots.Scale(-far, far, 4, 156)
    pairs = tuple(
        Pair(difference, DECISIONS[difference.decision], Markup(plots.difference(difference.interval, scale, margin)))
        for difference in differences
    )
    named = [(-far, plots.label(float(f"{-far:.1g}"))), (0.0, "0"), (far, plots.label(float(f"{far:.1g}")))]
    decided = sum(difference.decision != "undecided" for difference in differences)
    summary = f"{decided} of {len(differences)} decided"
    axis = Markup(plots.axis(scale, named, width=160))
    return Comparison(criterion_named(name).title, figure(margin) if margin else "", pairs, axis, summary)
