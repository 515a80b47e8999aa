"""The parts of a page: figures with intervals, tables, and plots as files beside it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from triptych.dilution.page import Points, plot
from triptych.verdict.intervals import Interval

COLOURS = ("#0072b2", "#d98c00", "#009e73", "#c44a00")
STYLE = (
    "text{font:11px sans-serif;fill:#66625b}.rail{stroke:#e2ded4;fill:none}.bar{stroke-width:1.5;opacity:.45;fill:none}"
    ".curve{stroke-width:2;fill:none}"
)


def said(interval: Interval | None) -> str:
    return f"{interval.value:.2f} ({interval.low:.2f} to {interval.high:.2f})" if interval else ""


def table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    return ["", *(f"| {' | '.join(row)} |" for row in (heads, ["---"] * len(heads), *rows)), ""]


def picture(name: str, title: str, across: str, lines: Sequence[tuple[str, Points]], folder: Path) -> list[str]:
    """Write a plot as a file of its own, with the names of its lines, and show it."""
    _, drawn, names = plot(title, across, lines)
    colours = "".join(
        f".m{i} .bar,.m{i} .curve{{stroke:{c}}}.m{i} .dot,text.m{i}{{fill:{c}}}" for i, c in enumerate(COLOURS)
    )
    keys, left = "", 44
    for slot, text in names:
        keys += f'<text class="m{slot}" x="{left}" y="-8">{text}</text>'
        left += 6 * len(text) + 14
    head, _, body = str(drawn).partition(">")
    head = head.replace('viewBox="0 0 420 240"', 'xmlns="http://www.w3.org/2000/svg" viewBox="0 -24 420 264"')
    paper = '<rect x="0" y="-24" width="420" height="264" fill="#fff"/>'
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.svg").write_text(
        f"{head}><style>{STYLE}{colours}</style>{paper}{keys}{body}\n", encoding="utf-8"
    )
    return ["", f"![{title}]({folder.name}/{name}.svg)", ""]
