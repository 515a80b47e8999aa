"""The page of a study of dilution: one HTML file that opens offline, the answer first."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from math import isfinite
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from ..files.atomic import write_text
from ..report import HERE as REPORT
from ..report.plots import Scale, label, ticks
from ..verdict.intervals import Interval
from .result import Result

HERE = Path(__file__).parent
WIDTH, HEIGHT = 420, 240
Points = Sequence[tuple[float, Interval]]
Plot = tuple[str, Markup, list[tuple[int, str]]]  # title, picture, and the key of its lines (colour and name)


def write_page(result: Result, out: Path) -> Path:
    """Write `dilution.html` into the folder. All text from outside is escaped; nothing is loaded when it opens."""
    environment = Environment(
        loader=FileSystemLoader(HERE), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["figure"] = _figure
    style = Markup((REPORT / "style.css").read_text(encoding="utf-8"))
    page = environment.get_template("page.html.j2").render(result=result, plots=_plots(result), style=style)
    path = out / "dilution.html"
    write_text(path, page)
    return path


def _figure(value: float) -> str:
    return f"{round(value, 2) + 0.0:.2f}".replace("-", "\N{MINUS SIGN}")  # + 0.0: no minus before zero


def _plots(result: Result) -> list[Plot]:
    found = []
    ways = {way: result.along("count", way) for way in ("average", "sum")}
    names = {"average": "averaged", "sum": "summed at full strength"}
    counted = [(names[way], points) for way, points in ways.items() if points]
    if weak := result.along("weight"):
        counted.append(("alone at the weight of an average", weak))
    if counted:
        found.append(plot("Mean retention by the number of files", "files in the mix", counted))
    ratio = [arm for arm in result.arms if arm.axis == "ratio"]
    if ratio and result.files:
        lines = []
        for file in result.files[:2]:
            kept = {row.arm: row.retention for row in result.kept if row.file == file.name}
            points = [(arm.value, kept[arm.name]) for arm in ratio if arm.name in kept]
            if points:
                lines.append((file.name, points))
        if lines:
            found.append(plot("Retention along the ratio", f"share of {result.files[1].name}", lines))
    if chain := result.along("generation"):
        found.append(plot("Mean retention over generations", "mixes one after the other", [("half and half", chain)]))
    return found


def plot(title: str, across: str, lines: Sequence[tuple[str, Points]]) -> Plot:
    """Lines with intervals. Colours come from the page's style (`m0`, `m1`, ...)."""
    values = [value for _, points in lines for value, _ in points]
    seen = [
        end for _, points in lines for _, kept in points for end in (kept.value, kept.low, kept.high) if isfinite(end)
    ]
    low, high = min(0.0, *seen), max(1.0, *seen)
    left, right = min(values), max(values)
    x = Scale(left, right if right > left else left + 1, 44, WIDTH - 14)
    y = Scale(low, high, HEIGHT - 40, 10)
    parts = []
    for value in ticks(low, high, 5):
        parts.append(f'<path class="rail" d="M{x.start},{y(value)}H{x.end}"/>')
        parts.append(f'<text class="tick" x="{x.start - 6}" y="{y(value) + 4}" text-anchor="end">{label(value)}</text>')
    for value in sorted(set(values)):
        parts.append(f'<text class="tick" x="{x(value)}" y="{HEIGHT - 22}" text-anchor="middle">{label(value)}</text>')
    middle = (x.start + x.end) / 2
    parts.append(f'<text class="tick" x="{middle}" y="{HEIGHT - 4}" text-anchor="middle">{escape(across)}</text>')
    for slot, (_, points) in enumerate(lines):
        parts.append(f'<g class="m{slot}">{_line(points, x, y)}</g>')
    words = "; ".join(
        f"{name}: {', '.join(f'{label(value)} {kept.value:.2f}' for value, kept in points)}" for name, points in lines
    )
    head = f'viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" role="img" aria-label="{escape(f"{title}. {words}")}"'
    return title, Markup(f"<svg {head}>{''.join(parts)}</svg>"), [(i, name) for i, (name, _) in enumerate(lines)]


def _line(points: Points, x: Scale, y: Scale) -> str:
    ends = "".join(
        f'<path class="bar" d="M{x(value)},{y(kept.low)}V{y(kept.high)}"/>'
        for value, kept in points
        if isfinite(kept.low) and isfinite(kept.high)
    )
    dots = "".join(f'<circle class="dot" cx="{x(value)}" cy="{y(kept.value)}" r="3.6"/>' for value, kept in points)
    joined = " ".join(f"{x(value)},{y(kept.value)}" for value, kept in points)
    return f'{ends}<polyline class="curve" points="{joined}"/>{dots}'
