"""Checks a folder before a training, without any model: its files, its pictures, its captions, its number."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from PIL import Image

from ..errors import printable
from ..units import listed
from . import overlay, quality, wording
from .alike import Print, near_copies
from .concept import COPY, Concept, Kind
from .findings import FAULTS, Action, Finding
from .pictures import format_of, read_picture

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

FEW: dict[Kind, int] = {"subject": 5, "style": 10, "scene": 8}  # pictures below which a warning is due
LEFT_OUT = ("copy", "unreadable")  # said by the notes of the concept already
CUT = "truncated", "not processed", "broken"  # what Pillow says of a file that ends too early


def check(concept: Concept, resolution: int = 0, known: Iterable[str] = ()) -> list[Finding]:
    """All findings about a concept that need no model.

    Args:
        resolution: of the training, in pixels; 0: not known.
        known: words in captions that say nothing, such as those of a base's prompts.
    """
    return list(_check(concept, resolution, known))


def brief(concept: Concept, resolution: int) -> list[str]:
    """A line for each kind of finding, which the user reads before a training; files that are left out have theirs."""
    files: dict[str, list[str]] = {}
    whole = []
    for finding in check(concept, resolution):
        if finding.fault in LEFT_OUT:
            continue
        if finding.file:
            files.setdefault(finding.fault, []).append(finding.file)
        else:
            whole.append(f"check: {finding.said}")
    return [printable(f"check: {FAULTS[fault].title}: {listed(names, 4)}") for fault, names in files.items()] + whole


def _check(concept: Concept, resolution: int, known: Iterable[str]) -> Iterator[Finding]:
    for note in concept.broken:
        early = any(word in note.reason for word in CUT)
        fault = "copy" if note.reason.startswith(COPY) else "truncated" if early else "unreadable"
        yield Finding(fault, note.reason, concept.name_of(note.path))
    prints: dict[str, Print] = {}
    small: dict[str, Image.Image] = {}
    blurs: dict[str, float] = {}
    for each in concept.pictures:
        picture = read_picture(each.path)
        yield from _suffix(each.name, each.path)
        seen = quality.scaled_down(picture)
        yield from quality.look(each.name, each.path, picture, seen, resolution)
        blurs[each.name] = quality.blur(quality.luminance(picture, resolution or quality.USUAL))
        prints[each.name], small[each.name] = Print.of(seen), overlay.small(seen)
    yield from quality.blurred(blurs)
    copies = list(near_copies([*prints], [*prints.values()], [each.caption for each in concept.pictures]))
    yield from copies
    gone = {copy.file for copy in copies}
    yield from overlay.look([image for name, image in small.items() if name not in gone])
    yield from wording.look(concept, known)
    yield from _number(concept, len(prints) - len(copies))


def _suffix(name: str, path: Path) -> Iterator[Finding]:
    """A file whose suffix is that of another format."""
    found = {"MPO": "JPEG"}.get(found := format_of(path), found)  # MPO: a JPEG with auxiliary pictures
    wanted = {suffix for suffix, known in Image.registered_extensions().items() if known == found}
    if wanted and path.suffix.lower() in Image.registered_extensions() and path.suffix.lower() not in wanted:
        yield Finding("suffix", f"called {path.suffix}, but it is a {found}", name)


def _number(concept: Concept, different: int) -> Iterator[Finding]:
    wanted = FEW[concept.kind]
    if different < wanted:
        yield Finding("few", f"{different} different pictures, where a {concept.kind} wants {wanted} or more")


def unfit_to_judge(findings: Iterable[Finding]) -> set[str]:
    """The names of the files that likeness should not be measured by: left out, cut or without their caption."""
    harmless = (Action.KEEP, Action.RENAME)
    return {finding.file for finding in findings if finding.action not in harmless}


def bad(findings: Sequence[Finding]) -> set[str]:
    """The names of the files that a cleaned copy leaves out."""
    return {finding.file for finding in findings if finding.action is Action.LEAVE_OUT}
