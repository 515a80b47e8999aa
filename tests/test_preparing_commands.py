"""The options of pictures, typed: they reach the file, a resumed training, and a study."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from PIL import Image

from tests.plain import call, typed
from triptych.exchange.formats import open_artifact


@pytest.mark.slow
def test_train_says_and_records_how_pictures_are_prepared(
    random_base: Path, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "a.safetensors"
    place = shutil.copytree(folder, tmp_path / "dog")
    Image.open(place / "0.png").resize((36, 24)).save(place / "0.png")
    words = typed(random_base, "train", "lora", place, "--steps", "2", "--out", out)
    assert call(monkeypatch, *words, "--flips") == 0
    told = capsys.readouterr().err
    assert "buckets (width x height: pictures)" in told
    assert "variations: 9 pictures make 18 examples" in told
    assert open_artifact(out).provenance["pictures_prepared"] == "framing=bucket flips=True"
    again = typed(random_base, "train", place, "--again", out, "--out", tmp_path / "b.safetensors")
    assert call(monkeypatch, *again) == 0
    assert "not as in the training of a.safetensors: how pictures are prepared" in capsys.readouterr().err
    assert call(monkeypatch, *again, "--overwrite", "--flips") == 0
    assert "how pictures are prepared" not in capsys.readouterr().err
    left, right = open_artifact(out).tensors, open_artifact(tmp_path / "b.safetensors").tensors
    assert all((left[name] == right[name]).all() for name in left)


@pytest.mark.slow
def test_train_checks_the_folder_first(
    random_base: Path, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    words = typed(random_base, "train", "lora", folder, "--steps", "1", "--out", tmp_path / "a.safetensors")
    assert call(monkeypatch, *words) == 0
    assert "check: no caption: 3.png, 4.png, 5.png, 6.png and 2 more" in capsys.readouterr().err
