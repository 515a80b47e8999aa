"""A scatter plot of two criteria, with the Pareto front and labels that do not overlap."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape
from itertools import pairwise

from ..verdict.intervals import Interval
from .plots import Scale, label, ticks

LETTER = 7.0  # pixels, the average width of a letter in a label
MARKS = (  # a shape for each method, in a box of -1..1
    "M-1,0A1,1 0 1 1 1,0A1,1 0 1 1 -1,0Z",
    "M-.9,-.9H.9V.9H-.9Z",
    "M0,-1.15L1.1,.85H-1.1Z",
    "M0,-1.25L1.25,0L0,1.25L-1.25,0Z",
    "M0,1.15L1.1,-.85H-1.1Z",
    "M-1,-.35H-.35V-1H.35V-.35H1V.35H.35V1H-.35V.35H-1Z",
)
WIDTH, HEIGHT = 620, 400


@dataclass(frozen=True)
class Point:
    """One method; both criteria are better when larger."""

    name: str
    slot: int
    x: Interval
    y: Interval


@dataclass(frozen=True)
class Box:
    """A rectangle in pixels; y grows downwards."""

    left: float
    top: float
    right: float
    bottom: float

    def overlap(self, other: "Box") -> float:
        """The shared area in square pixels; 0 where the boxes do not overlap."""
        wide = min(self.right, other.right) - max(self.left, other.left)
        high = min(self.bottom, other.bottom) - max(self.top, other.top)
        return max(wide, 0) * max(high, 0)


Ticks = Callable[
    [float, float], list[tuple[float, str]]
]  # from two limits to the ticks between them, each with its text


def scatter(
    points: Sequence[Point], front: Sequence[str], x_title: str, y_title: str, x_ticks: Ticks | None = None
) -> str:
    """The plot of one or more points. `front` names the points that no other point beats in both criteria."""
    x = _scale([point.x for point in points], 56, WIDTH - 22)
    y = _scale([point.y for point in points], HEIGHT - 48, 18)
    corners = sorted((x(point.x.value), y(point.y.value)) for point in points if point.name in front)
    stairs = _stairs(corners, x.start, y.start)
    line = "".join(f"{'L' if index else 'M'}{across},{down}" for index, (across, down) in enumerate(stairs))
    parts = [*_axes(x, y, x_title, y_title, x_ticks or _plain), f'<path class="front" d="{line}"/>']
    parts += [_whiskers(point, x, y) for point in points]
    names = place(points, x, y, Box(x.start + 2, 6, WIDTH - 4, y.start - 4), stairs)
    for point, box in zip(points, names, strict=True):
        at = f"translate({x(point.x.value)},{y(point.y.value)}) scale(5.5)"
        parts.append(
            f'<g class="m{point.slot}"><path class="shape" transform="{at}" d="{MARKS[point.slot % len(MARKS)]}"/>'
            f'<text class="name" x="{box.left:.1f}" y="{box.top + 11:.1f}">{escape(point.name)}</text></g>'
        )
    label_text = "; ".join(_words(point, x_title, y_title, x_ticks is None) for point in points)
    body = "".join(parts)
    return f'<svg class="plot" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(label_text)}">{body}</svg>'


def _words(point: Point, x_title: str, y_title: str, plain: bool) -> str:
    across = f"{x_title} {point.x.value:.2f}, " if plain else ""
    return f"{point.name}: {across}{y_title} {point.y.value:.2f}"


def _plain(low: float, high: float) -> list[tuple[float, str]]:
    return [(value, label(value)) for value in ticks(low, high, 6)]


def place(
    points: Sequence[Point], x: Scale, y: Scale, inside: Box, stairs: Sequence[tuple[float, float]] = ()
) -> list[Box]:
    """The box of each label: near its mark, inside the plot, over no other label or mark, and over few lines.

    Labels are placed one after the other, each at the position around its mark with the lowest cost.
    """
    marks = [Box(x(p.x.value) - 7, y(p.y.value) - 7, x(p.x.value) + 7, y(p.y.value) + 7) for p in points]
    lines = [bar for p in points for bar in _bars(p, x, y)]
    lines += [Box(min(a, c) - 1, min(b, d) - 1, max(a, c) + 1, max(b, d) + 1) for (a, b), (c, d) in pairwise(stairs)]
    names: list[Box] = []
    for point in points:
        wide, across, down = len(point.name) * LETTER, x(point.x.value), y(point.y.value)
        choices = [
            Box(left, top, left + wide, top + 14)
            for far in (10, 24, 40, 60)
            for left in (across + far, across - far - wide, across - wide / 2)
            for top in (down - 7, down - far - 12, down + far - 2)
        ]
        names.append(min(choices, key=lambda box: _cost(box, [*marks, *names], lines, inside)))
    return names


def _cost(box: Box, taken: Sequence[Box], lines: Sequence[Box], inside: Box) -> float:
    outside = (box.right - box.left) * (box.bottom - box.top) - box.overlap(inside)
    return 100 * (outside + sum(map(box.overlap, taken))) + 4 * sum(map(box.overlap, lines))


def _stairs(corners: Sequence[tuple[float, float]], left: float, bottom: float) -> list[tuple[float, float]]:
    """The corners of the Pareto front in pixels, from the left edge to the bottom edge."""
    stairs: list[tuple[float, float]] = []
    before = left
    for across, down in corners:
        stairs += [(before, down), (across, down)]
        before = across
    return [*stairs, (before, bottom)] if stairs else []


def _ends(interval: Interval) -> tuple[float, float]:
    known = math.isfinite(interval.low) and math.isfinite(interval.high)
    return (interval.low, interval.high) if known else (interval.value, interval.value)


def _bars(point: Point, x: Scale, y: Scale) -> tuple[Box, Box]:
    (left, right), (low, high) = map(_ends, (point.x, point.y))
    across, down = x(point.x.value), y(point.y.value)
    return Box(x(left), down - 1, x(right), down + 1), Box(across - 1, y(high), across + 1, y(low))


def _whiskers(point: Point, x: Scale, y: Scale) -> str:
    wide, high = _bars(point, x, y)
    path = f"M{wide.left},{wide.top + 1}H{wide.right}M{high.left + 1},{high.top}V{high.bottom}"
    return f'<path class="whisker m{point.slot}" d="{path}"/>'


def _scale(intervals: Sequence[Interval], start: float, end: float) -> Scale:
    lows, highs = zip(*map(_ends, intervals), strict=True)
    low, high = min(lows), max(highs)
    room = max((high - low) * 0.08, 0.02)
    return Scale(low - room, high + room, start, end)


def _axes(x: Scale, y: Scale, x_title: str, y_title: str, x_ticks: Ticks) -> list[str]:
    parts = []
    for value in ticks(y.low, y.high, 6):
        parts.append(f'<path class="rail" d="M{x.start},{y(value)}H{x.end}"/>')
        parts.append(f'<text class="tick" x="{x.start - 8}" y="{y(value) + 4}" text-anchor="end">{label(value)}</text>')
    for value, text in x_ticks(x.low, x.high):
        parts.append(f'<path class="rail" d="M{x(value)},{y.start}V{y.end}"/>')
        parts.append(f'<text class="tick" x="{x(value)}" y="{y.start + 16}" text-anchor="middle">{escape(text)}</text>')
    below, aside = (x.start + x.end) / 2, f"translate(14,{(y.start + y.end) / 2}) rotate(-90)"
    parts.append(f'<text class="title" x="{below}" y="{HEIGHT - 8}" text-anchor="middle">{escape(x_title)}</text>')
    parts.append(f'<text class="title" transform="{aside}" text-anchor="middle">{escape(y_title)}</text>')
    return parts
