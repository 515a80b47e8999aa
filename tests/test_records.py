"""What a study writes down comes back as it was, and what is damaged is one sentence."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from triptych.errors import TriptychError
from triptych.records import Log, PictureRecord, SheetRecord, TrialRecord

TRIAL = TrialRecord(
    "lora", 1, 7, {"rank": 4, "keep": "last", "lr": 1e-3}, 20, 10, 1e-3, "sks dog", None, ("a.png", "b.png"), 3.5,
    ("hypernetwork",), 1234,
)  # fmt: skip
SHEET = SheetRecord("lora", 1, "concept", (PictureRecord("00000.png", "a dog", 3, "a sks dog"),), 0.25)


@pytest.mark.parametrize("record", [TRIAL, TrialRecord("lora", failure="it broke"), SHEET], ids=lambda one: one.NAME)
def test_records_come_back(tmp_path: Path, record: TrialRecord | SheetRecord) -> None:
    record.write(tmp_path)
    assert type(record).read(tmp_path) == record


def test_a_log_comes_back_without_losses_that_are_no_numbers(tmp_path: Path) -> None:
    Log(((1, 0.5), (2, math.nan), (3, 0.25)), ((0, 0.75), (3, math.inf))).write(tmp_path)
    assert (tmp_path / Log.NAME).read_text().splitlines()[0] == '{"step": 0, "fixed_loss": 0.75}'
    assert Log.read(tmp_path) == Log(((1, 0.5), (3, 0.25)), ((0, 0.75),))
    assert Log.read(tmp_path / "none") == Log()


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"method": "lora", "strange": 1}', '{"pictures": 3}'])
def test_a_damaged_record_is_one_sentence(tmp_path: Path, text: str) -> None:
    (tmp_path / TrialRecord.NAME).write_text(text)
    with pytest.raises(TriptychError, match=r"trial\.json cannot be read: .*; delete it, and run the study again"):
        TrialRecord.read(tmp_path)
