"""Results lie under keys of what they were made from: of all that changes them, and of nothing else."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from triptych.base import Base
from triptych.sampling.prior import prior_latents
from triptych.study import Plan, Silent
from triptych.study.layout import Layout
from triptych.study.sheets import sheets
from triptych.study.work import Work

KNOBS: list[tuple[dict[str, Any], bool]] = [
    ({"batch": 3}, True), ({"rows": 5}, True), ({"guidance": 2.0}, False), ({"steps": 3}, False),
]  # fmt: skip  # of sampling: what is changed, and whether what was drawn before still holds


def told(base: Base, changes: dict[str, Any]) -> None:
    base.description = replace(base.description, sampling=replace(base.description.sampling, **changes))


@pytest.mark.parametrize(("changes", "same"), KNOBS, ids=str)
def test_a_sheet_holds_whatever_memory_there_is(
    base: Base, folder: Path, tmp_path: Path, changes: dict[str, Any], same: bool
) -> None:
    plan = Plan(folder)
    work = Work(plan, base, plan.concept(), Layout(tmp_path), Silent())
    before = [sheet.folder for sheet in sheets(work, [])]
    told(base, changes)
    assert ([sheet.folder for sheet in sheets(work, [])] == before) is same


@pytest.mark.parametrize(("changes", "same"), KNOBS, ids=str)
def test_pictures_of_the_class_are_drawn_once_whatever_memory_there_is(
    base: Base, changes: dict[str, Any], same: bool
) -> None:
    first = prior_latents(base, ["a dog"] * 2)
    told(base, changes)
    again = prior_latents(base, ["a dog"] * 2)
    kept = list(Path(os.environ["TRIPTYCH_CACHE"]).rglob("prior/*.safetensors"))
    assert (len(kept) == 1, torch.equal(first, again)) == (same, same)
