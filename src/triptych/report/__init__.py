"""The report: one HTML file that opens offline, rebuilt from the study folder alone, without torch."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from ..files.atomic import write_text
from ..verdict.words import titled
from .reading import read
from .tally import Tally
from .view import FILTERS, view

HERE = Path(__file__).parent


@dataclass(frozen=True)
class Report:
    """The page that was written, and what the given votes say; `tally` is None without votes."""

    path: Path
    tally: Tally | None


def build(study: Path) -> Path:
    """Write `report.html` into the study folder and return its path; see `build_with_votes`."""
    return build_with_votes(study).path


def build_with_votes(study: Path, votes: Sequence[Path] = ()) -> Report:
    """Write `report.html` into the study folder, with votes that its page saved, in files.

    All text from outside (captions, prompts, file names, errors) is escaped. The page loads nothing when it opens.

    Raises:
        TriptychError: the folder holds no verdict, a file in it cannot be read, a file of votes is about another study,
            or the report cannot be written.
    """
    environment = Environment(
        loader=FileSystemLoader(HERE), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters.update(FILTERS)
    style, script = (_joined(*names) for names in (("style.css", "vote.css"), ("page.js", "vote.js")))
    reading = read(study)
    with titled(reading.study.titles):
        shown = view(reading, study, votes)
        page = environment.get_template("page.html.j2").render(view=shown, style=style, script=script)
    path = study / "report.html"
    write_text(path, page)
    return Report(path, shown.tally)


def _joined(*names: str) -> Markup:
    return Markup("\n".join((HERE / name).read_text(encoding="utf-8") for name in names))
