"""The report: one HTML file that opens offline, rebuilt from the study folder alone, without torch."""

from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from ..files.atomic import write_text
from ..verdict.words import titled
from .reading import read
from .view import FILTERS, view

HERE = Path(__file__).parent


def build(study: Path) -> Path:
    """Write `report.html` into the study folder and return its path.

    All text from outside (captions, prompts, file names, errors) is escaped. The page loads nothing when it opens.

    Raises:
        TriptychError: the folder holds no verdict, a file in it cannot be read, or the report cannot be written.
    """
    environment = Environment(
        loader=FileSystemLoader(HERE), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters.update(FILTERS)
    style, script = (Markup((HERE / name).read_text(encoding="utf-8")) for name in ("style.css", "page.js"))
    reading = read(study)
    with titled(reading.study.titles):
        page = environment.get_template("page.html.j2").render(view=view(reading, study), style=style, script=script)
    path = study / "report.html"
    write_text(path, page)
    return path
