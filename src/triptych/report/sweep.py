"""The page of a sweep: a row for each job, with its settings, curves, losses and pictures, sorted by any column."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from ..files.atomic import write_text
from ..records import Curve
from ..settings import Value
from ..units import counted, size
from ..verdict.intervals import Interval
from ..verdict.words import figure, span, title
from . import plots
from .colours import slot
from .curves import smooth
from .pictures import MANY, Inlined, inline

HERE = Path(__file__).parent


@dataclass(frozen=True)
class Shot:
    """A picture of a job."""

    path: Path
    prompt: str
    seed: int


@dataclass(frozen=True)
class Judged:
    """What a file is worth by its pictures.

    Attributes:
        both: likeness and prompt at once; None where it was not measured.
        decision: "best", "keep", "discard" or "undecided", among the files of its concept.
        page: the report of these files, from the sweep's folder.
    """

    both: Interval | None
    decision: str
    reason: str
    page: Path


@dataclass(frozen=True)
class Row:
    """A job of the sweep.

    Attributes:
        settings: those that were given; others are the base's own.
        file: the name of its file; "" if it has none.
        failure: why it has none; "" if it has, or has not been trained.
        losses: of each step.
        fixed: the fixed-batch loss.
        kept: the fixed-batch loss of the tensors that were kept.
    """

    name: str
    concept: str
    method: str
    settings: Mapping[str, Value]
    seed: int
    file: str
    failure: str
    losses: Curve
    fixed: Curve
    kept: float | None
    parameters: int
    bytes: int
    shots: tuple[Shot, ...]
    judged: Judged | None = None

    @property
    def both(self) -> Interval | None:
        return self.judged.both if self.judged else None


@dataclass(frozen=True)
class _Line:
    """A row as the page shows it. `cells` are the values of the columns for sorting, and their texts."""

    row: Row
    cells: tuple[tuple[str, str], ...]
    plot: Markup
    shots: tuple[tuple[Inlined, str], ...]


def write_page(rows: Sequence[Row], bare: Mapping[str, Sequence[Shot]], path: Path) -> Path:
    """Write the page. It is one file and loads nothing when it opens; all text from outside is escaped.

    `bare` are the pictures of the bare base, by name of the concept. Rows are sorted by what they are worth, where they
    are judged, then by the fixed-batch loss.
    """
    environment = Environment(
        loader=FileSystemLoader(HERE), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters.update({"slot": slot, "title": title, "counted": counted})
    style, script, sort = (
        Markup((HERE / name).read_text(encoding="utf-8")) for name in ("style.css", "page.js", "sort.js")
    )
    ordered = sorted(
        rows,
        key=lambda row: (
            row.concept, -row.both.value if row.both else float("inf"), row.kept is None, row.kept or 0.0, row.name
        ),
    )  # fmt: skip
    many = sum(len(row.shots) for row in rows) > MANY
    columns = _columns(rows)
    bounds = _bounds(rows)
    lines = [_line(row, columns, bounds, many) for row in ordered]
    bases = [(name, _inlined(shots, many)) for name, shots in bare.items()]
    page = environment.get_template("sweep.html.j2").render(
        lines=lines, columns=columns, bases=bases, style=style, script=script, sort=sort,
        failed=[row for row in rows if row.failure], concepts=len({row.concept for row in rows}), alike=_alike(rows),
        fixed=any(len(row.fixed) > 1 for row in rows),
        pages=dict.fromkeys(row.judged.page.as_posix() for row in ordered if row.judged),
    )  # fmt: skip
    write_text(path, page)
    return path


def _columns(rows: Sequence[Row]) -> list[str]:
    """Concept and seed where they differ, the method, the settings given, and what came of it."""
    settings = [key for key in dict.fromkeys(key for row in rows for key in row.settings) if key not in _alike(rows)]
    found = ["concept"] if len({row.concept for row in rows}) > 1 else []
    found += ["method", *settings]
    found += ["seed"] if len({row.seed for row in rows}) > 1 else []
    found += ["both at once", "decision"] if any(row.judged for row in rows) else []
    return [*found, "fixed-batch loss", "loss", "size"]


def _alike(rows: Sequence[Row]) -> dict[str, Value]:
    """The settings that were given and are the same in all rows; none where there is one row."""
    shared = set.intersection(*({(key, value) for key, value in row.settings.items()} for row in rows))
    return dict(sorted(shared)) if len(rows) > 1 else {}


def _cell(row: Row, column: str) -> tuple[str, str]:
    """The value of a column, by which rows are sorted, and its text."""
    own: dict[str, tuple[str, str]] = {
        "concept": (row.concept, row.concept),
        "method": (row.method, title(row.method)),
        "seed": (str(row.seed), str(row.seed)),
        "both at once": (repr(row.both.value), _interval(row.both)) if row.both else ("", ""),
        "decision": (row.judged.decision, row.judged.decision) if row.judged else ("", ""),
        "fixed-batch loss": _number(row.kept),
        "loss": _number(_mean([loss for _, loss in row.losses][-10:])),
        "size": (str(row.bytes), size(row.bytes)) if row.bytes else ("", ""),
    }
    if column in own:
        return own[column]
    value = row.settings.get(column, "")
    return str(value), f"{value:g}" if isinstance(value, float) else str(value)


def _interval(interval: Interval) -> str:
    return f"{figure(interval.value)}, {span(interval)}"


def _number(value: float | None) -> tuple[str, str]:
    return ("", "") if value is None else (repr(value), f"{value:.4f}")


def _mean(values: Sequence[float]) -> float | None:
    return sum(values) / len(values) if values else None


def _bounds(rows: Sequence[Row]) -> tuple[int, float, float]:
    """Most steps, lowest and highest loss of all curves, so that all plots share their axes."""
    lines = [line for row in rows for line in (smooth(row.losses), row.fixed) if line]
    losses = [loss for line in lines for _, loss in line] or [0.0, 1.0]
    steps = max((step for line in lines for step, _ in line), default=1)
    return steps, min(losses), max(max(losses), min(losses) + 1e-6)


def _line(row: Row, columns: Sequence[str], bounds: tuple[int, float, float], many: bool) -> _Line:
    steps, low, high = bounds
    plot = ""
    if len(row.losses) > 1:
        words = f"loss of {row.name} over {len(row.losses):,} steps"
        fixed = [row.fixed] if len(row.fixed) > 1 else []
        plot = plots.curve([smooth(row.losses)], fixed, slot(row.method), steps, low, high, words)
    return _Line(
        row, tuple(_cell(row, column) for column in columns), Markup(plot), _inlined(row.shots, many, row.name)
    )


def _inlined(shots: Sequence[Shot], many: bool, name: str = "the bare base") -> tuple[tuple[Inlined, str], ...]:
    found = []
    for shot in shots:
        if picture := inline(shot.path, many):
            found.append((picture, f"{name}: {shot.prompt}; seed {shot.seed}"))
    return tuple(found)
