"""Keeps what a page says of a study, without its pictures, so that a later run of other seeds can be added to it."""

from __future__ import annotations

import zipfile
from pathlib import Path

from triptych.records import PointsRecord

FILES = ("study.toml", "verdict.json", "scores.jsonl", PointsRecord.NAME)  # the last one may be missing
EPOCH = (1980, 1, 1, 0, 0, 0)  # of all files, so that the same study is the same bytes


def keep(study: Path, place: Path, root: Path) -> None:
    """Write the records of a finished study into the archive `place`; paths in them become relative to `root`."""
    place.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(place, "w", zipfile.ZIP_LZMA) as archive:
        for name in FILES:
            if (study / name).is_file():
                text = (study / name).read_text(encoding="utf-8").replace(f"{root}/", "")
                entry = zipfile.ZipInfo(name, EPOCH)
                entry.compress_type = zipfile.ZIP_LZMA
                archive.writestr(entry, text)


def unpack(place: Path, study: Path) -> None:
    """Write the records of an archive into the folder of a study."""
    study.mkdir(parents=True)
    with zipfile.ZipFile(place) as archive:
        for name in FILES:
            if name in archive.namelist():
                (study / name).write_bytes(archive.read(name))
