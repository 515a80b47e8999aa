"""The scripts in `examples/` run, and their results are files and pictures."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

import triptych
from examples import compose_files, many_in_one_pass, train_and_sample
from triptych.base import Base


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch, base: Base) -> None:
    monkeypatch.setattr(triptych, "open_base", lambda name: base, raising=False)


def test_train_and_sample(folder: Path, tmp_path: Path) -> None:
    train_and_sample.main(folder, tmp_path, steps=2)
    assert Image.open(tmp_path / "fox-1.png").size == (16, 16)
    assert triptych.load(tmp_path / "lora.safetensors").settings.steps == 2


def test_many_in_one_pass(folder: Path, tmp_path: Path) -> None:
    many_in_one_pass.main(folder, tmp_path, ranks=(1, 2), steps=2)
    assert {path.stem for path in tmp_path.glob("*.safetensors")} == {"rank-1", "rank-2"}


def test_compose_files(folder: Path, tmp_path: Path) -> None:
    many_in_one_pass.main(folder, tmp_path, ranks=(1, 2), steps=2)
    uses = [(path, 0.5) for path in sorted(tmp_path.glob("*.safetensors"))]
    compose_files.main("a dog", tmp_path / "dog.png", uses)
    assert Image.open(tmp_path / "dog.png").size == (16, 16)
