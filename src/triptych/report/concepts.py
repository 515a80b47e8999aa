"""The page of many concepts: a row for each, with its figures and a link to its report, and the verdict over all."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from ..errors import Remedy, TriptychError
from ..files.atomic import write_text
from ..records import ConceptsRecord
from ..scores import parts_of
from ..units import counted
from ..verdict import NEEDS, Verdict
from ..verdict.summary import QUESTIONS, graded, lead
from ..verdict.words import figure, span, title
from .colours import slot
from .pictures import Inlined, inline
from .reading import PICTURES

HERE = Path(__file__).parent
OVER = "over-concepts.json"  # the verdict over all concepts


@dataclass(frozen=True)
class _Row:
    """A concept as the page shows it. `best`: the row that is highest in the headline."""

    name: str
    link: str
    picture: Inlined | None
    verdict: Verdict
    best: str


def build_concepts(out: Path) -> Path:
    """Write the page of a folder of studies from what lies in it, and return its path.

    Raises:
        TriptychError: a file in it cannot be read.
    """
    record = ConceptsRecord.read(out)
    rows = [_row(out, one.name) for one in record.concepts if not one.failure]
    failed = [one for one in record.concepts if one.failure]
    over = Verdict.from_json((out / OVER).read_text(encoding="utf-8")) if (out / OVER).is_file() else None
    named = (name for row in rows for name in row.verdict.methods if len(parts_of(name)) == 1)
    environment = Environment(
        loader=FileSystemLoader(HERE), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters.update(
        {"slot": slot, "title": title, "counted": counted, "figure": figure, "span": span, "graded": graded}
    )
    style, script, sort = (
        Markup((HERE / name).read_text(encoding="utf-8")) for name in ("style.css", "page.js", "sort.js")
    )
    page = environment.get_template("concepts.html.j2").render(
        rows=rows, failed=failed, over=over, methods=list(dict.fromkeys(named)), questions=QUESTIONS,
        needs=_needs(over) if over else {}, style=style, script=script, sort=sort,
    )  # fmt: skip
    path = out / "report.html"
    write_text(path, page)
    return path


def _row(out: Path, name: str) -> _Row:
    """
    Raises:
        TriptychError: its study has no verdict.
    """
    path = out / name / "verdict.json"
    try:
        verdict = Verdict.from_json(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise TriptychError(f"{path} cannot be read: {error}", Remedy.FINISHED_STUDY) from error
    thumbs = sorted(each for each in (out / name / "thumbs").glob("*") if each.suffix.lower() in PICTURES)
    both = {method: row["both"].value for method, row in verdict.methods.items() if "both" in row}
    best = max(both, key=lambda method: both[method], default="")
    return _Row(name, f"{quote(name)}/report.html", inline(thumbs[0]) if thumbs else None, verdict, best)


def _needs(over: Verdict) -> Mapping[str, str]:
    """Need -> what is recommended for it over all concepts."""
    return {need: lead(over.recommendation.by_need[need], over.margins.both) for need in NEEDS}
