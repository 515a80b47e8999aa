"""What each file adds to a picture: `generate --explain`."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.worlds import call, learned, pictures, trial, typed
from triptych.app.sample import generate
from triptych.base import Base
from triptych.exchange.saving import save


@pytest.mark.slow
def test_each_file_is_left_out_in_turn(
    base: Base, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path, random_base: Path
) -> None:
    library, out, folder = tmp_path / "library", tmp_path / "out", tmp_path / "dog"
    for name, method in (("a", "lora"), ("b", "lora"), ("c", "textual-inversion")):
        place = library / ("embeddings" if method == "textual-inversion" else "loras") / f"{name}word.safetensors"
        place.parent.mkdir(parents=True, exist_ok=True)
        save(learned(base, trial(method, seed=ord(name))), place)
    folder.mkdir()
    for i, picture in enumerate(pictures(4)):
        picture.resize((64, 64)).save(folder / f"{i}.png")
    words = [
        "generate", "a cword dog <lora:bword:1>", "--use", f"{library}/loras/aword.safetensors:1", "--library", library,
        "--explain", "--concept", folder, "--steps", "4", "-n", "2", "--out", out, "--json",
        "--image-encoder", random_base / "dino", "--text-encoder", random_base / "clip",
    ]  # fmt: skip
    assert call(monkeypatch, *typed(random_base, *words)) == 0
    said = json.loads((out / "explain.json").read_text())
    assert len(said["pictures"]) == 2
    first = said["pictures"][0]
    assert [file["name"] for file in first["files"]] == ["aword", "bword", "cword", "any file"]
    assert all("subject_fidelity" in one["fidelity"] for one in (first, *first["files"]))
    assert set(said["mean"]) == {"aword", "bword", "cword", "any file"}
    assert Image.open(out / "explain.png").width > 5 * 128

    def shown(name: str) -> np.ndarray:
        return np.asarray(Image.open(out / name)).astype(int)

    from triptych.base import open_base

    opened = open_base(str(random_base / "base"))
    (plain,) = generate(opened, "a cword dog", (0,), steps=4)
    assert np.abs(shown("00000-without-4.png") - np.asarray(plain).astype(int)).max() <= 1
    assert all(np.abs(shown("00000.png") - shown(f"00000-without-{k}.png")).max() > 0 for k in (1, 2, 3, 4))
    capsys.readouterr()


@pytest.mark.slow
def test_nothing_attached_is_nothing_to_explain(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path, random_base: Path
) -> None:
    words = ["generate", "a dog", "--explain", "--out", tmp_path]
    assert call(monkeypatch, *typed(random_base, *words)) == 2
    assert "nothing to explain" in capsys.readouterr().err
