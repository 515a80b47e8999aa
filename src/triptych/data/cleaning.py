"""Writes a cleaned copy of a folder and says what became of each file. The folder itself is not changed."""

from __future__ import annotations

import math
import shutil
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import tomli_w

from ..errors import Remedy, TriptychError, printable
from ..files.atomic import replacing_entries
from ..shell import writable
from .concept import FEWEST_PICTURES, Concept, Picture
from .findings import FAULTS, Action, Finding
from .folder import PROMPTS_FILE, SETTINGS_FILE
from .masks import mask_beside, mask_of
from .pictures import format_of, read_picture
from .quality import bars, luminance

if TYPE_CHECKING:
    from pathlib import Path

    from PIL import Image

LIST = "README.md"  # what became of each file
SUFFIXES = {"JPEG": ".jpg", "MPO": ".jpg", "PNG": ".png", "WEBP": ".webp", "GIF": ".gif", "BMP": ".bmp", "TIFF": ".tif"}


def clean(concept: Concept, findings: Sequence[Finding], out: Path) -> dict[str, str]:
    """Write the pictures without grave findings, their captions as `.txt`, their masks, and a list of what was done.

    Pictures keep their bytes, but for those whose bars are cut off. The words of the concept go into `concept.toml`.
    The user's own pictures of the class are not copied.

    Returns:
        The name of each file of the folder -> what was done, as a clause.

    Raises:
        TriptychError: too few pictures are left, or the place exists and is not empty.
    """
    check_copy(out)
    by_file: dict[str, list[Finding]] = {}
    for finding in findings:
        by_file.setdefault(finding.file, []).append(finding)
    left = [picture for picture in concept.pictures if not _out(by_file.get(picture.name, ()))]
    if len(left) < FEWEST_PICTURES:
        raise TriptychError(
            f"of {concept.name} only {len(left)} of {len(concept.pictures)} pictures would be left, and"
            f" {FEWEST_PICTURES} are needed; nothing was written"
        )
    done = {concept.name_of(note.path): f"left out: {note.reason}" for note in concept.broken}
    with replacing_entries(out, LIST) as place:
        for picture in concept.pictures:
            name = picture.name
            own = by_file.get(name, [])
            done[name] = f"left out: {_out(own)}" if _out(own) else _write(picture, own, place)
        _write_words(concept, place)
        (place / LIST).write_text(writable(_listed(concept, done, by_file.get("", ()))), encoding="utf-8")
    return dict(sorted(done.items()))


def check_copy(out: Path) -> None:
    """Check that a cleaned copy can go to a place.

    Raises:
        TriptychError: the place exists and is not empty.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise TriptychError(f"{out} exists already and is not empty", Remedy.OTHER_PLACE)


def _out(findings: Sequence[Finding]) -> str:
    """Why a picture is left out; "" if it is not."""
    return "; ".join(finding.said for finding in findings if finding.action is Action.LEAVE_OUT)


def _write(picture: Picture, findings: Sequence[Finding], place: Path) -> str:
    """Write a picture and its caption. Returns what was done."""
    said = []
    actions = {finding.action: finding for finding in findings}
    path = place / picture.name
    path.parent.mkdir(exist_ok=True)
    if Action.RENAME in actions:
        path = path.with_name(_free(path.parent, path.stem, SUFFIXES.get(format_of(picture.path), path.suffix)))
        said.append(f"copied as {path.name}")
    if Action.CROP in actions:
        path = path.with_name(_free(path.parent, path.stem, ".png"))
        whole, mask = read_picture(picture.path), mask_of(picture.path)
        inside = _inside_bars(whole)
        whole.crop(inside).save(path)
        if mask:
            mask.resize(whole.size).crop(inside).save(path.with_name(f"{path.stem}_mask.png"))
        said.append(f"bars cut off, saved as {path.name}")
    else:
        shutil.copyfile(picture.path, path)
        if mask_file := mask_beside(picture.path):
            shutil.copyfile(mask_file, path.with_name(f"{path.stem}_mask{mask_file.suffix}"))
    if Action.DROP_CAPTION in actions:
        said.append(f"caption left out: {actions[Action.DROP_CAPTION].said}")
    elif picture.caption:
        path.with_name(f"{path.name}.txt").write_text(picture.caption + "\n", encoding="utf-8")
    kept = [FAULTS[finding.fault].title for finding in findings if finding.action is Action.KEEP]
    return "; ".join([*(said or ["copied"]), *(f"{title}, kept" for title in kept)])


def _free(place: Path, stem: str, suffix: str) -> str:
    """A name that no file of the folder has yet."""
    number, name = 1, stem + suffix
    while (place / name).exists():
        number, name = number + 1, f"{stem}-{number + 1}{suffix}"
    return name


def _inside_bars(picture: Image.Image) -> tuple[int, int, int, int]:
    """Left, top, right and bottom of what lies within the bars."""
    above, beside = bars(luminance(picture))
    top, left = math.ceil(above * picture.height - 0.01), math.ceil(beside * picture.width - 0.01)
    return left, top, picture.width - left, picture.height - top


def _write_words(concept: Concept, place: Path) -> None:
    words = {"kind": concept.kind, "class": concept.class_word, "token": concept.token}
    (place / SETTINGS_FILE).write_text(writable(tomli_w.dumps(words)), encoding="utf-8")
    prompts = concept.pictures[0].path.with_name(PROMPTS_FILE)
    if prompts.is_file():
        shutil.copyfile(prompts, place / PROMPTS_FILE)


def _listed(concept: Concept, done: Mapping[str, str], whole: Sequence[Finding]) -> str:
    lines = [f"- `{printable(name)}`: {printable(what)}" for name, what in sorted(done.items())]
    lines += [f"- the folder: {printable(finding.said)}" for finding in whole]
    if concept.class_folder:
        lines.append(f"- `{printable(concept.class_folder.name)}`, with pictures of the class: not copied")
    head = f"# {printable(concept.name)}, cleaned\n\nWritten by triptych. What became of each file:"
    return "\n".join([head, "", *lines, ""])
