"""Small plots as SVG text. Colours come from the page's CSS (`m0`, `m1`, ... for methods)."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from ..verdict.intervals import Interval


@dataclass(frozen=True)
class Scale:
    """A linear map from values to pixels. Values outside the range are moved to its edge."""

    low: float
    high: float
    start: float
    end: float

    def __call__(self, value: float) -> float:
        share = (min(max(value, self.low), self.high) - self.low) / (self.high - self.low)
        return round(self.start + share * (self.end - self.start), 1)


def ticks(low: float, high: float, count: int = 5) -> list[float]:
    """About `count` round values in [low, high]. Their distance is 1, 2 or 5 times a power of ten."""
    rough = (high - low) / max(count, 1)
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= rough * 0.999)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [round(index * step, 10) for index in range(first, last + 1)]


def label(value: float) -> str:
    """The shortest text of a tick: `0`, `0.5`, `−0.2`, `1`."""
    return f"{value:.10g}".replace("-", "\N{MINUS SIGN}")


def strip(interval: Interval, scale: Scale, slot: int, marks: Sequence[float] = ()) -> str:
    """One interval as a line with a dot, for a table cell. `marks` are vertical lines, such as the floor."""
    lines = "".join(f'<path class="mark" d="M{scale(mark)},0V18"/>' for mark in marks)
    low, high = scale(interval.low), scale(interval.high)
    known = math.isfinite(interval.low) and math.isfinite(interval.high)
    bar = f'<path class="bar" d="M{low},9H{high}"/>' if known else ""
    return (
        f'<svg class="strip m{slot}" viewBox="0 0 120 18" width="120" height="18" aria-hidden="true">'
        f'<path class="rail" d="M{scale.start},9H{scale.end}"/>{lines}{bar}'
        f'<circle class="dot" cx="{scale(interval.value)}" cy="9" r="3.6"/></svg>'
    )


def difference(interval: Interval, scale: Scale, margin: float | None) -> str:
    """A difference as a line with a dot, with a band for the margin and a vertical line at zero."""
    known = math.isfinite(interval.low) and math.isfinite(interval.high)
    bar = f'<path class="bar" d="M{scale(interval.low)},9H{scale(interval.high)}"/>' if known else ""
    left, right = scale(-(margin or 0)), scale(margin or 0)
    band = f'<rect class="band" x="{left}" y="0" width="{right - left:.1f}" height="18"/>' if margin else ""
    return (
        f'<svg class="strip" viewBox="0 0 160 18" width="160" height="18" aria-hidden="true">{band}'
        f'<path class="rail" d="M{scale.start},9H{scale.end}"/><path class="zero" d="M{scale(0)},0V18"/>{bar}'
        f'<circle class="dot" cx="{scale(interval.value)}" cy="9" r="3.6"/></svg>'
    )


def axis(scale: Scale, named: Sequence[tuple[float, str]], width: int = 120) -> str:
    """The axis below a column of strips. A label that would touch the one before it is left out."""
    parts, taken = [], -math.inf
    for value, text in sorted(named):
        wide = len(text) * 5.6
        left = min(max(scale(value) - wide / 2, 0), width - wide)
        tick = f'<path d="M{scale(value)},0V4"/>'
        if left < taken + 3:
            parts.append(tick)
            continue
        taken = left + wide
        parts.append(f'{tick}<text x="{left:.1f}" y="14">{escape(text)}</text>')
    body = "".join(parts)
    return f'<svg class="axis" viewBox="0 0 {width} 17" width="{width}" height="17" aria-hidden="true">{body}</svg>'


Line = Sequence[tuple[int, float]]


def curve(
    runs: Sequence[Line], fixed: Sequence[Line], slot: int, steps: int, low: float, high: float, words: str
) -> str:
    """Loss over steps, on an axis that all methods share: the running mean and the fixed-batch loss of each run.

    `words` describe the plot for screen readers.
    """
    width, height = 240, 130
    x, y = Scale(0, max(steps, 1), 34, width - 8), Scale(low, high, height - 22, 8)
    parts = []
    for value in ticks(low, high, 3):
        parts.append(f'<path class="rail" d="M{x.start},{y(value)}H{x.end}"/>')
        parts.append(f'<text class="tick" x="{x.start - 5}" y="{y(value) + 4}" text-anchor="end">{label(value)}</text>')
    for value in ticks(0, steps, 3):
        anchor = "end" if x(value) > width - 24 else "middle"
        parts.append(f'<text class="tick" x="{x(value)}" y="{height - 6}" text-anchor="{anchor}">{label(value)}</text>')
    for kind, lines in (("curve", runs), ("fixed", fixed)):
        for line in lines:
            points = " ".join(f"{x(step)},{y(loss)}" for step, loss in line)
            parts.append(f'<polyline class="{kind}" points="{points}"/>')
    head = f'class="plot m{slot}" viewBox="0 0 {width} {height}" role="img" aria-label="{escape(words)}"'
    return f"<svg {head}>{''.join(parts)}</svg>"
