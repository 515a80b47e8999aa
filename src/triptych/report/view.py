"""What the page shows, as frozen values: the template only lays them out."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from markupsafe import Markup

from ..intervals import Interval
from ..scores import BASE, Cost
from ..verdict import NEEDS, Answer, Choice, Verdict
from ..verdict.words import TITLES, duration, figure, inside, size, span, title
from . import plots, scatter
from .grid import Grid, grid
from .pictures import Inlined, inline
from .reading import Reading, Trial

GREY = 9  # the slot of the bare base
QUESTIONS = {  # the method asked about, and the question
    "textual_inversion_is_enough": ("textual-inversion", "Is textual inversion enough?"),
    "dreambooth_is_excessive": ("dreambooth", "Is DreamBooth excessive?"),
    "hypernetwork_is_a_middle_ground": ("hypernetwork", "Is a hypernetwork a good middle ground?"),
}
NEED_WORDS = {  # after "Recommended for", and as a wish
    "fidelity": ("fidelity", "It should look like mine"),
    "editability": ("editability", "It should follow my prompts"),
    "small": ("a small file", "The file should be small"),
    "portable": ("portability", "It should work on other bases"),
    "fast": ("short training", "Training should be short"),
}


@dataclass(frozen=True)
class Criterion:
    """A column of the table of measurements; `limits` fixes its axis, `named` its ticks."""

    title: str
    meaning: str
    limits: tuple[float, float] | None = None
    named: tuple[tuple[float, str], ...] = ()


CRITERIA = {
    "fidelity": Criterion(
        "Subject fidelity",
        "0: the class word on the bare base; 1: your own pictures",
        named=((0, "floor 0"), (1, "ceiling 1")),
    ),
    "prompt_fidelity": Criterion("Prompt fidelity", "share of what the prompt names that is there", (0, 1)),
    "base_preservation": Criterion("Base preservation", "unrelated prompts, same seeds; 1: unchanged", (0, 1)),
    "diversity": Criterion("Diversity", "how unlike the pictures of one prompt are"),
    "subject_fidelity": Criterion("Similarity", "cosine to your pictures; marked: floor and ceiling"),
}


@dataclass(frozen=True)
class Cell:
    value: str
    span: str
    plot: Markup


@dataclass(frozen=True)
class Column:
    criterion: Criterion
    cells: tuple[Cell | None, ...]  # one a row of the table
    axis: Markup


@dataclass(frozen=True)
class Curve:
    method: str
    plot: Markup
    told: str


@dataclass(frozen=True)
class File:
    """Something to take away; `says` is the word that calls it, `method` is empty where the name tells none."""

    name: str
    size: str
    method: str
    says: str


@dataclass(frozen=True)
class View:
    reading: Reading
    answers: tuple[tuple[str, str, Answer], ...]  # the method asked about, the question, the answer
    need: str
    choice: Choice
    needs: tuple[tuple[str, Choice], ...]
    yours: tuple[Inlined, ...]
    concept: Grid
    unrelated: Grid
    measured: tuple[str, ...]  # rows of the table: the bare base and the methods
    columns: tuple[Column, ...]
    pareto: Markup
    curves: tuple[Curve, ...]
    costs: tuple[Cost, ...]
    files: tuple[File, ...]
    failures: tuple[tuple[str, str], ...]


def view(reading: Reading, folder: Path) -> View:
    """Everything on the page, from the study at `folder`."""
    verdict = reading.verdict
    methods = sorted(verdict.methods, key=_order)
    measured = (BASE, *methods)
    return View(
        reading=reading,
        answers=tuple((*QUESTIONS[name], answer) for name, answer in verdict.answers.items()),
        need=NEED_WORDS[verdict.recommendation.need][0],
        choice=verdict.recommendation.choice,
        needs=tuple((NEED_WORDS[need][1], verdict.recommendation.by_need[need]) for need in NEEDS),
        yours=tuple(one for path in reading.thumbs if (one := inline(path))),
        concept=grid(reading, "concept", measured, folder),
        unrelated=grid(reading, "unrelated", measured, folder),
        measured=measured,
        columns=tuple(_columns(verdict, measured)),
        pareto=_pareto(verdict, methods),
        curves=tuple(_curves(reading, methods)),
        costs=tuple(sorted(verdict.costs.values(), key=lambda cost: _order(cost.method))),
        files=tuple(_file(path, reading) for path in reading.artifacts),
        failures=tuple(sorted(verdict.failures.items(), key=lambda failure: _order(failure[0]))),
    )


def _order(method: str) -> tuple[int, str]:
    """The same order of methods everywhere: from the lightest idea to the heaviest, then by name."""
    return slot(method), method


def slot(method: str) -> int:
    """The colour and mark of a method, the same throughout the page."""
    names = list(TITLES)
    if method == BASE:
        return GREY
    return names.index(method) if method in names else 5 + sum(map(ord, method)) % 3


def _columns(verdict: Verdict, rows: Sequence[str]) -> list[Column]:
    table = {BASE: verdict.base, **verdict.methods}
    found = {name for row in rows for name in table[row]}
    order = [name for name in CRITERIA if name in found] + sorted(found - CRITERIA.keys())
    return [_column(name, [table[row].get(name) for row in rows], rows, verdict) for name in order]


def _column(name: str, intervals: Sequence[Interval | None], rows: Sequence[str], verdict: Verdict) -> Column:
    criterion = CRITERIA.get(name, Criterion(name.replace("_", " ").capitalize(), ""))
    named = _named(name, verdict) or criterion.named
    marks = [value for value, _ in named]
    ends = [end for one in intervals if one for end in (one.low, one.high, one.value) if math.isfinite(end)] + marks
    low, high = criterion.limits or (min(ends), max(ends))
    room = 0.0 if criterion.limits else max(high - low, 0.02) * 0.06
    scale = plots.Scale(low - room, high + room, 4, 116)
    cells = [
        Cell(figure(one.value), span(one), Markup(plots.strip(one, scale, slot(row), marks))) if one else None
        for row, one in zip(rows, intervals, strict=True)
    ]
    if name == "fidelity":
        floor = Interval(0.0, -math.inf, math.inf, 0)
        cells[rows.index(BASE)] = Cell("0", "the floor", Markup(plots.strip(floor, scale, slot(BASE), marks)))
    ticks = named or tuple((end, plots.label(round(end, 2))) for end in (low, high))
    return Column(criterion, tuple(cells), Markup(plots.axis(scale, ticks)))


def _named(name: str, verdict: Verdict) -> tuple[tuple[float, str], ...]:
    """The floor and the ceiling, for the criterion that they are measured in."""
    anchors = (verdict.anchors.floor, verdict.anchors.ceiling) if name == "subject_fidelity" else ()
    return tuple((one.value, figure(one.value)) for one in anchors if one)


def _pareto(verdict: Verdict, methods: Sequence[str]) -> Markup:
    both = [name for name in methods if {"fidelity", "base_preservation"} <= verdict.methods[name].keys()]
    if len(both) < 2:
        return Markup("")
    points = [
        scatter.Point(
            title(name), slot(name), verdict.methods[name]["base_preservation"], verdict.methods[name]["fidelity"]
        )
        for name in both
    ]
    front = [title(name) for name in verdict.front]
    return Markup(scatter.scatter(points, front, "base preservation", "subject fidelity"))


def _curves(reading: Reading, methods: Sequence[str]) -> list[Curve]:
    runs = {
        name: [trial for trial in reading.trials if trial.method == name and len(trial.losses) > 1] for name in methods
    }
    smooth = {name: [_smooth(trial) for trial in trials] for name, trials in runs.items() if trials}
    losses = [loss for lines in smooth.values() for line in lines for _, loss in line]
    if not losses:
        return []
    low, high = min(losses), max(max(losses), min(losses) + 1e-6)
    curves = []
    for name, lines in smooth.items():
        trial = runs[name][0]
        steps = max(trial.steps, *(step for line in lines for step, _ in line))
        plot = Markup(plots.curve(lines, slot(name), steps, low, high))
        curves.append(Curve(name, plot, f"{trial.steps:,} steps, learning rate {trial.rate:g}"))
    return curves


def _smooth(trial: Trial, points: int = 80) -> list[tuple[int, float]]:
    """The running mean over a tenth of the run, at no more than `points` steps: single losses are mostly noise."""
    losses = [loss for _, loss in trial.losses]
    window = max(len(losses) // 10, 1)
    means = [
        (step, sum(losses[max(index - window + 1, 0) : index + 1]) / min(index + 1, window))
        for index, (step, _) in enumerate(trial.losses)
        if index >= window - 1
    ]
    return list(islice(means, 0, None, max(len(means) // points, 1)))


def _file(path: Path, reading: Reading) -> File:
    method = next((trial.method for trial in reading.trials if path.stem.endswith(trial.method)), "")
    says = next((trial.says for trial in reading.trials if trial.method == method and trial.says), "")
    return File(path.name, size(path.stat().st_size), method, says)


FILTERS = {
    "title": title,
    "inside": inside,
    "slot": slot,
    "size": size,
    "duration": duration,
    "figure": figure,
    "span": span,
}
