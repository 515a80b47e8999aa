"""What the files of a sweep are worth by their pictures: `triptych judge` on those of each folder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Protocol

from ..errors import TriptychError
from ..files.atomic import shortened
from ..options import StudyOptions
from ..report.sweep import Judged
from ..study.judging import JudgeRequest, judge_files
from ..verdict.evidence import BOTH
from .board import At

JUDGED = "judged"


class Trained(Protocol):
    """A job that has a file."""

    @property
    def name(self) -> str: ...
    @property
    def file(self) -> Path: ...


def judge_jobs(jobs: Mapping[tuple[Path, str], Sequence[Trained]], options: StudyOptions, at: At) -> dict[str, Judged]:
    """Job -> what its file is worth. A folder whose files cannot be judged is noted, and the others are judged.

    Args:
        jobs: folder and words of a concept -> its jobs.
        options: those of `judge`, and words that hold for all folders.
        at: the sweep's base and folder. What is judged goes to `judged/FOLDER` in it.
    """
    out = at.out / JUDGED
    found, places = dict[str, Judged](), set[Path]()
    for (folder, only), own in jobs.items():
        name = shortened("-".join(filter(None, (folder.resolve().name, *only.split()))))
        place = out / (name if out / name not in places else f"{name}-{len(places)}")
        places.add(place)
        request = JudgeRequest(tuple(job.file for job in own), folder, replace(options, only=only))
        try:
            judgement = judge_files(request, place, at.board, lambda _: at.base)
        except TriptychError as error:
            at.board.note(f"what {folder} has trained is not judged: {error}")
            continue
        rows = {judged.file: judged for judged in judgement.record.files}
        for job in own:
            judged = rows[job.file.name]
            both = judgement.verdict.methods[judged.row].get(BOTH)
            found[job.name] = Judged(both, judged.decision, judged.reason, place.relative_to(at.out) / "report.html")
    return found
