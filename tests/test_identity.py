"""A base is known by its weights; their fingerprint is taken once for each state of its files."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from triptych.base import Base, open_base


@pytest.fixture
def taken(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Every fingerprint that is taken."""
    found: list[str] = []
    fingerprint = Base.fingerprint

    def noted(self: Base) -> str:
        found.append(fingerprint(self))
        return found[-1]

    monkeypatch.setattr(Base, "fingerprint", noted)
    return found


@pytest.mark.slow
def test_the_same_files_are_hashed_once(random_base: Path, taken: list[str]) -> None:
    first, again = (open_base(str(random_base / "base"), precision="fp32") for _ in range(2))
    assert (again.identity, taken) == (first.identity, [first.identity])
    halves = open_base(str(random_base / "base"), precision="bf16")
    assert taken == [first.identity, halves.identity]
    assert halves.identity != first.identity


@pytest.mark.slow
def test_other_weights_of_the_same_size_have_another_identity(
    random_base: Path, tmp_path: Path, taken: list[str]
) -> None:
    shutil.copytree(random_base / "base", tmp_path / "base")
    before = open_base(str(tmp_path / "base")).identity
    path = tmp_path / "base" / "unet" / "diffusion_pytorch_model.safetensors"
    weights = load_file(path)
    weights["conv_in.bias"] = weights["conv_in.bias"] + 1
    save_file(weights, path, {"format": "pt"})
    os.utime(path, ns=(0, path.stat().st_mtime_ns + 1))
    after = open_base(str(tmp_path / "base"))
    assert after.identity not in (before, "")
    assert after.fingerprint() == after.identity
    assert len(taken) == 3


@pytest.mark.slow
@pytest.mark.parametrize("text", ["", "zz", "0123", "0123456789abcdef\n", "\xff"])
def test_a_record_that_is_damaged_is_not_believed(random_base: Path, taken: list[str], text: str) -> None:
    one = open_base(str(random_base / "base"))
    (record,) = Path(os.environ["TRIPTYCH_CACHE"]).rglob("identity/*")
    record.write_text(text, encoding="latin-1")
    assert open_base(str(random_base / "base")).identity == one.identity
    assert len(taken) == 2


def test_a_cache_that_cannot_be_written_is_done_without(
    random_base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("TRIPTYCH_CACHE", str(tmp_path / "file"))
    assert open_base(str(random_base / "base")).identity


def test_it_is_of_the_bare_base_while_weights_are_moved(base: Base) -> None:
    before = base.identity
    with torch.no_grad():
        base.denoiser.module.conv_in.bias.add_(1)
    assert base.identity == before != base.fingerprint()
