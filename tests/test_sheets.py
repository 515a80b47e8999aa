"""Sheets: saved picture by picture, resumed where they were stopped, taken over from smaller ones, and timed."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from tests.worlds import learned, trial
from triptych.base import Base
from triptych.exchange.saving import save
from triptych.metrics import Role
from triptych.prompt.courses import Window
from triptych.records import SheetRecord
from triptych.scores import BASE
from triptych.study.layout import Layout
from triptych.study.plan import Plan
from triptych.study.point import Use
from triptych.study.progress import Silent
from triptych.study.sheets import (
    Sheet,
    missing_of,
    pending,
    sample_all,
    sample_small,
    seconds_a_picture,
    sheet_of,
    unfinished,
)
from triptych.study.work import Work


class Stopping(Silent):
    """Is stopped by the user after some pictures."""

    def __init__(self, after: int) -> None:
        self.after = after

    def advance(self, units: int = 1) -> None:
        self.after -= units
        if self.after == 0:
            raise KeyboardInterrupt


@pytest.fixture
def work(base: Base, folder: Path, tmp_path: Path) -> Work:
    plan = Plan(folder)
    return Work(plan, base, plan.concept(), Layout(tmp_path), Silent())


def bare(work: Work, count: int, role: Role = "concept") -> Sheet:
    return sheet_of(work, BASE, 0, role, [(f"dog {i}", f"dog {i}", i) for i in range(count)], ())


def times(sheet: Sheet) -> dict[str, int]:
    return {path.name: path.stat().st_mtime_ns for path in sheet.folder.glob("*.png")}


def test_a_stopped_sheet_keeps_its_pictures_and_goes_on(work: Work) -> None:
    sheet = bare(work, 3)
    work.progress = Stopping(after=2)
    with pytest.raises(KeyboardInterrupt):
        sample_all(work, [sheet])
    kept = times(sheet)
    assert (len(kept), sheet.record, pending([sheet])) == (2, None, 1)
    work.progress = Silent()
    sample_all(work, [sheet])
    assert {name: time for name, time in times(sheet).items() if name in kept} == kept
    assert sheet.record and [picture.file for picture in sheet.record.pictures] == sorted(times(sheet))
    assert sheet.seconds_a_picture


def test_pictures_of_a_smaller_sheet_are_taken_over_once(work: Work) -> None:
    small, large = bare(work, 2), bare(work, 3)
    sample_all(work, [small])
    assert missing_of(work, [small, large]) == [large] == unfinished([large])
    taken = times(large)
    assert (len(taken), pending([large])) == (2, 1)
    missing_of(work, [large])
    assert times(large) == taken


@pytest.mark.slow
def test_a_stopped_batch_of_small_sheets_goes_on(work: Work, base: Base, tmp_path: Path) -> None:
    """Some of its files have no picture left to sample."""
    path = tmp_path / "lora.safetensors"
    save(learned(base, trial("lora", lr=0.3)), path)
    small = [
        sheet_of(work, "lora", 0, "choose", [("dog", "a dog", 3)], (Use(path, "lora", strength),))
        for strength in (0.5, 1.0)
    ]
    sample_small(work, small)
    before = [(sheet.folder / "00000.png").read_bytes() for sheet in small]
    for sheet in small:
        (sheet.folder / SheetRecord.NAME).unlink()
    (small[1].folder / "00000.png").unlink()
    sample_small(work, small)
    assert not unfinished(small)
    assert (small[0].folder / "00000.png").read_bytes() == before[0] != before[1]


@pytest.mark.slow
def test_a_file_comes_and_goes_along_the_steps(work: Work, base: Base, tmp_path: Path) -> None:
    path = tmp_path / "lora.safetensors"
    save(learned(base, trial("lora", lr=0.3)), path)
    asked = [("dog", "a dog", 3)]
    courses = (None, Window(0.0, 1.0), Window(0.5, 1.0), Window(1.0, 2.0))
    given = [(Use(path, "lora", course=course),) for course in courses]
    sheets = [sheet_of(work, "lora", 0, "choose", asked, uses) for uses in (*given, ())]
    assert len({sheet.folder for sheet in sheets}) == len(sheets)
    for sample in (sample_all, sample_small):
        sample(work, sheets)
        whole, always, half, never, without = (open_picture(sheet.folder / "00000.png") for sheet in sheets)
        assert whole == always != half and never == without != half
        for sheet in sheets:
            shutil.rmtree(sheet.folder)


def open_picture(path: Path) -> bytes:
    with Image.open(path) as picture:
        return picture.tobytes()


def test_the_time_of_a_picture_is_the_mean_over_what_a_larger_study_has_more_of(work: Work) -> None:
    known: list[Sheet] = []
    sizes: tuple[tuple[Role, int, float | None], ...] = (
        ("concept", 3, 2.0), ("unrelated", 1, 1.0), ("other-base", 2, 50.0), ("class", 2, None),
    )  # fmt: skip
    for role, count, seconds in sizes:
        sheet = replace(bare(work, count, role), method="lora")
        SheetRecord("lora", 0, role, (), seconds).write(sheet.folder)
        known.append(sheet)
    assert seconds_a_picture(known) == {"lora": pytest.approx(1.75)}
    assert seconds_a_picture(known[2:]) == {}
