"""The frontier of each row: likeness against prompt fidelity over its strengths and moments, with the chosen point."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape

from markupsafe import Markup

from ..records import JudgedFile, PointRecord
from ..scores import parts_of
from ..verdict import Verdict
from ..verdict.words import figure, title
from . import plots
from .colours import slot
from .plots import Scale
from .reading import Reading

WIDTH, HEIGHT = 240, 190
LETTER = 7.0  # pixels, the average width of a letter in a label
FAINTEST = 0.35  # opacity of the earliest moment


@dataclass(frozen=True)
class Dot:
    """One point. `moment` is a part of the training, to 1; `whole` says whether it was tried on all prompts."""

    prompt: float
    fidelity: float
    strength: float
    moment: float = 1.0
    chosen: bool = False
    whole: bool = True


@dataclass(frozen=True)
class Frontier:
    title: str
    slot: int  # its colour
    plot: Markup
    summary: str


def frontiers(reading: Reading, methods: Sequence[str]) -> list[Frontier]:
    """One plot for each method, or for each judged file, with two points or more; all on the same axes."""
    rows = _judged(reading.judged.files, reading.verdict) if reading.judged else _tried(reading.points, methods)
    found = [(name, colour, dots, said) for name, colour, dots, said in rows if len(dots) > 1]
    every = [dot for _, _, dots, _ in found for dot in dots]
    if not every:
        return []
    x = _scale([dot.prompt for dot in every], 40, WIDTH - 12)
    y = _scale([dot.fidelity for dot in every], HEIGHT - 40, 10)
    return [Frontier(name, colour, Markup(_plot(dots, colour, x, y, name)), said) for name, colour, dots, said in found]


def words(point: PointRecord, reading: Reading) -> str:
    """`at strength 0.8, after 150 of 300 steps`."""
    if len(parts_of(point.method)) > 1:
        return f"with each part at {point.strength:g} of its own strength"
    steps = next((trial.steps for trial in reading.trials if trial.method == point.method), 0)
    when = f", after {point.step} of {steps} steps" if point.moment < 1 else ""
    return f"at strength {point.strength:g}{when}"


Rows = Iterator[tuple[str, int, list[Dot], str]]  # title, colour, dots, summary


def _tried(points: Sequence[PointRecord], methods: Sequence[str]) -> Rows:
    for method in methods:
        own = [point for point in points if point.method == method]
        dots = [
            Dot(point.prompt_fidelity, point.fidelity, point.strength, point.moment, point.chosen,
                point.pictures == max(each.pictures for each in own))
            for point in own if point.prompt_fidelity is not None
        ]  # fmt: skip
        best = next((point for point in own if point.chosen), None)
        summary = f"chosen: strength {best.strength:g}, both at once {figure(best.both)}" if best else ""
        yield title(method), slot(method), dots, summary


def _judged(files: Sequence[JudgedFile], verdict: Verdict) -> Rows:
    for name in dict.fromkeys(judged.file for judged in files):
        own = sorted((judged for judged in files if judged.file == name), key=lambda judged: judged.strength)
        measured = [(judged, verdict.methods[judged.row]) for judged in own]
        dots = [
            Dot(row["prompt_fidelity"].value, row["fidelity"].value, judged.strength, chosen=judged.decision == "best")
            for judged, row in measured
            if {"prompt_fidelity", "fidelity"} <= row.keys()
        ]
        yield name, slot(own[0].row), dots, "; ".join(f"{judged.strength:g}: {judged.decision}" for judged in own)


def _scale(values: Sequence[float], start: float, end: float) -> Scale:
    low, high = min(values), max(values)
    room = max((high - low) * 0.12, 0.03)
    return Scale(low - room, high + room, start, end)


def _plot(dots: Sequence[Dot], colour: int, x: Scale, y: Scale, name: str) -> str:
    parts = []
    for value in plots.ticks(y.low, y.high, 4):
        parts.append(f'<path class="rail" d="M{x.start},{y(value)}H{x.end}"/>')
        text = plots.label(value)
        parts.append(f'<text class="tick" x="{x.start - 5}" y="{y(value) + 4}" text-anchor="end">{text}</text>')
    for value in plots.ticks(x.low, x.high, 4):
        text = plots.label(value)
        parts.append(f'<text class="tick" x="{x(value)}" y="{HEIGHT - 24}" text-anchor="middle">{text}</text>')
    parts.append(f'<text class="tick" x="{x.end}" y="{HEIGHT - 6}" text-anchor="end">prompt fidelity</text>')
    parts.append(f'<text class="tick" x="{x.start + 4}" y="{y.end + 8}">likeness</text>')
    moments = sorted({dot.moment for dot in dots})
    for rank, moment in enumerate(moments, start=1):
        opacity = FAINTEST + (1 - FAINTEST) * rank / len(moments)
        own = sorted((dot for dot in dots if dot.moment == moment), key=lambda dot: dot.strength)
        parts.append(f'<g opacity="{opacity:.2f}">{_line(own, x, y)}</g>')
    parts += _labels(dots, x, y)
    said = "; ".join(_words(dot) for dot in dots)
    head = f'class="plot m{colour}" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(f"{name}: {said}")}"'
    return f"<svg {head}>{''.join(parts)}</svg>"


def _line(dots: Sequence[Dot], x: Scale, y: Scale) -> str:
    points = " ".join(f"{x(dot.prompt)},{y(dot.fidelity)}" for dot in dots)
    parts = [f'<polyline class="curve" points="{points}"/>']
    for dot in dots:
        across, down = x(dot.prompt), y(dot.fidelity)
        parts.append(f'<circle class="dot" cx="{across}" cy="{down}" r="{3.6 if dot.whole else 2.2}"/>')
        if dot.chosen:
            parts.append(f'<circle class="ring" cx="{across}" cy="{down}" r="7.5"/>')
    return "".join(parts)


def _labels(dots: Sequence[Dot], x: Scale, y: Scale) -> Iterator[str]:
    """The strengths at the end of the training, beside their dots. One that has no room is left out."""
    taken: list[tuple[float, float, float]] = []  # left, right, baseline
    for dot in sorted((dot for dot in dots if dot.moment == 1), key=lambda dot: (not dot.chosen, -dot.strength)):
        text, across, down = plots.label(dot.strength), x(dot.prompt), y(dot.fidelity)
        wide = LETTER * len(text)
        for left, base in ((across + 9, down - 4), (across - 9 - wide, down - 4), (across + 9, down + 13)):
            free = all(right < left or left + wide < start or abs(base - line) > 11 for start, right, line in taken)
            if free and x.start < left and left + wide < WIDTH:
                taken.append((left, left + wide, base))
                yield f'<text class="tick" x="{left:.1f}" y="{base:.1f}">{text}</text>'
                break


def _words(dot: Dot) -> str:
    when = "" if dot.moment == 1 else f" at {dot.moment:g} of the training"
    chosen = ", chosen" if dot.chosen else ""
    return f"strength {dot.strength:g}{when}{chosen}: prompt {dot.prompt:.2f}, likeness {dot.fidelity:.2f}"
