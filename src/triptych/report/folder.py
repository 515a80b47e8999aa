"""The page of a checked folder: every picture with what was found about it, and what holds for the whole folder."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from types import MappingProxyType

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from ..data.concept import Concept
from ..data.findings import FAULTS, Finding
from ..errors import Remedy, TriptychError, printable
from ..files.atomic import check_place, write_text
from ..units import counted
from .pictures import MANY, Inlined, inline

HERE = Path(__file__).parent
NONE: Mapping[str, str] = MappingProxyType({})


@dataclass(frozen=True)
class _Row:
    """A file as the page shows it."""

    name: str
    picture: Inlined | None
    caption: str
    findings: tuple[Finding, ...]
    state: str  # "used", "left out", or "held out"


def check_page(path: Path, folder: Path) -> None:
    """Check, before long work begins, that the page can be written. It may replace an older page of the same folder.

    Raises:
        TriptychError: nothing can be written there, or what is there is no page of this folder.
    """
    check_place(path)
    if path.is_file() and _mark(folder) not in path.read_text(encoding="utf-8", errors="replace"):
        raise TriptychError(f"{path} exists already and is no page of {folder}", Remedy.OTHER_PLACE)


def _mark(folder: Path) -> str:
    """The tag by which a page is told from those of other folders: a hash, so that a shared page names no place."""
    return f'<meta name="folder" content="{sha256(os.fsencode(folder.resolve())).hexdigest()[:16]}">'


def write_page(
    concept: Concept,
    folder: Path,
    findings: Sequence[Finding],
    held_out: Sequence[str],
    usable: Sequence[str],
    notes: Sequence[str],
    path: Path,
    worth: Mapping[str, str] = NONE,
    groups: Mapping[str, str] = NONE,
    unfit: Sequence[str] = (),
) -> Path:
    """Write the page. It is one file and loads nothing when it opens; all text from outside is escaped.

    Args:
        folder: the concept's.
        held_out: names of the pictures that a study does not train on.
        usable: names of the pictures that a cleaned copy has.
        notes: lines on what is not used as given.
        worth: name -> what the picture is worth.
        groups: the same in the mean, kind of finding -> worth of the pictures with it.
        unfit: those held out that a study should not judge by.
    """
    environment = Environment(
        loader=FileSystemLoader(HERE), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters.update({"counted": counted, "printable": printable})
    style, script = (Markup((HERE / name).read_text(encoding="utf-8")) for name in ("style.css", "page.js"))
    rows = _rows(concept, findings, held_out)
    page = environment.get_template("folder.html.j2").render(
        name=printable(concept.name), kind=concept.kind, class_word=concept.class_word,
        found=[row for row in rows if row.findings], others=[row for row in rows if not row.findings],
        whole=[finding for finding in findings if not finding.file], faults=FAULTS, counts=_counts(findings),
        notes=notes, pictures=len(concept.pictures), usable=len(usable), held_out=len(held_out), worth=worth,
        groups=groups, unfit=unfit,
        mark=Markup(_mark(folder)), style=style, script=script,
    )  # fmt: skip
    write_text(path, page)
    return path


def _counts(findings: Sequence[Finding]) -> Mapping[str, int]:
    """Title -> files, in the order of `FAULTS`."""
    files = {
        fault: len({finding.file for finding in findings if finding.fault == fault and finding.file})
        for fault in FAULTS
    }
    return {FAULTS[fault].title: count for fault, count in files.items() if count}


def _rows(concept: Concept, findings: Sequence[Finding], held_out: Sequence[str]) -> list[_Row]:
    captions = {picture.name: picture.caption for picture in concept.pictures}
    paths = {concept.name_of(file.path): file.path for file in concept.broken}
    paths |= {picture.name: picture.path for picture in concept.pictures}
    many = len(paths) > MANY
    rows = []
    for name, path in sorted(paths.items()):
        state = "left out" if name not in captions else "held out" if name in held_out else "used"
        own = tuple(finding for finding in findings if finding.file == name)
        rows.append(_Row(printable(name), inline(path, many), captions.get(name, ""), own, state))
    return rows
