"""Presets for graphics cards: what they set, what goes before them, and that those of the families fit."""

from __future__ import annotations

import json
import shutil
import tomllib
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest
import tomli_w
import torch

from tests.worlds import call, gap, trial
from triptych.base import Base, Description, tiny_base
from triptych.base.device import free_memory
from triptych.base.opening.single import configuration, shell
from triptych.errors import TriptychError
from triptych.exchange.formats import open_artifact
from triptych.families import FOLDER, family_named
from triptych.methods import WholeTraining, method_named
from triptych.records import TrialRecord
from triptych.training.fit import fit
from triptych.training.leaves import check_steps
from triptych.training.sizes import MOMENTS
from triptych.units import bytes_of

PRESETS = {"9GB": {"lora": {"optimizer": "lion", "clip": 0.0}}, "1GB": {}}
FAST = ("--precision", "fp32", "-s", "batch=1", "-s", "lr=1e-3", "-s", "steps=2")
FAMILIES = [path.stem for path in FOLDER.glob("*.toml")]


@pytest.fixture
def place(tmp_path: Path, random_base: Path) -> Path:
    """A base that describes presets."""
    folder = tmp_path / "base"
    shutil.copytree(random_base / "base", folder)
    table = tomllib.loads((folder / "triptych.toml").read_text())
    (folder / "triptych.toml").write_text(tomli_w.dumps(table | {"presets": PRESETS}))
    return folder


@pytest.mark.slow
def test_a_preset_is_its_settings_and_a_plan(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path, folder: Path, place: Path
) -> None:
    def trained(name: str, *words: str) -> str:
        given = ("train", "lora", folder, "--out", tmp_path / f"{name}.safetensors", "--base", place)
        assert call(monkeypatch, *given, *FAST, *words) == 0
        return " ".join(capsys.readouterr().err.split())

    def tensors(name: str) -> dict[str, torch.Tensor]:
        return open_artifact(tmp_path / f"{name}.safetensors").tensors

    said = trained("preset", "--preset", "9GB")
    assert "preset 9GB of lora: optimizer lion, clip 0.0, and a plan for 9 GB" in said
    assert "of 9 GB: " in said, "the plan"
    trained("stated", "-s", "optimizer=lion", "-s", "clip=0", "--memory", "9GB")
    trained("plain")
    assert gap(tensors("preset"), tensors("stated")) == 0 < gap(tensors("preset"), tensors("plain"))
    said = trained("over", "--preset", "9GB", "-s", "optimizer=adamw", "-s", "clip=1", "--memory", "8GB")
    assert "preset 9GB of lora: a plan for 8 GB; as given and not as in the preset: optimizer adamw, clip 1.0" in said
    assert gap(tensors("over"), tensors("plain")) == 0
    written = tomllib.loads((tmp_path / "preset.toml").read_text())
    assert (written["preset"], written["settings"]["optimizer"]) == ("9GB", "lion")
    assert (
        call(monkeypatch, "train", "--config", tmp_path / "preset.toml", "--out", tmp_path / "again.safetensors") == 0
    )
    assert "preset 9GB of lora: optimizer lion, clip 0.0, and a plan" in " ".join(capsys.readouterr().err.split())
    assert gap(tensors("again"), tensors("preset")) == 0


@pytest.mark.thorough
def test_a_sweep_takes_a_preset_below_its_settings(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path, folder: Path, place: Path
) -> None:
    words = ("sweep", folder, "--method", "lora", "-s", "clip=1,2", "--base", place, "--out", tmp_path / "out")
    assert call(monkeypatch, *words, *FAST[2:], "--preset", "9GB") == 0
    said = " ".join(capsys.readouterr().err.split())
    assert (
        "preset 9GB of lora: optimizer lion, and a plan for 9 GB; as given and not as in the preset: clip 1.0" in said
    )
    assert "memory: 2 jobs in passes for 9 GB: 1 of 2" in said
    assert "optimizer lion" in (tmp_path / "out" / "sweep.html").read_text(), "the page has what the preset sets"
    records = [TrialRecord.read(path.parent) for path in (tmp_path / "out").glob("jobs/*/trial.json")]
    assert sorted((one.settings["optimizer"], one.settings["clip"]) for one in records) == [("lion", 1), ("lion", 2)]


@pytest.mark.slow
def test_what_a_preset_cannot_do_is_said(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path, folder: Path, place: Path,
    random_base: Path,
) -> None:  # fmt: skip
    out = tmp_path / "one.safetensors"
    for source, why in {
        place: "has no preset '10GB'; there are: 9GB, 1GB", random_base / "base": "has no presets for graphics cards",
    }.items():  # fmt: skip
        words = ("train", "lora", folder, "--out", out, "--base", source, "--preset", "10GB")
        assert call(monkeypatch, *words) == 2
        assert why in " ".join(capsys.readouterr().err.split())
    words = ("train", "aesthetic-gradients", folder, "--out", out, "--base", place, "--preset", "9GB")
    assert call(monkeypatch, *words) == 0
    assert "what is asked of them is not used: preset" in " ".join(capsys.readouterr().err.split())


def test_presets_are_listed_and_are_settings_that_go_together(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(monkeypatch, "presets", "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert set(told) == set(FAMILIES)
    for family in FAMILIES:
        described = Description.of(None, family)
        assert list(described.presets) == sorted(described.presets, key=bytes_of), "smallest first"
        for own in described.presets.values():
            for name, given in own.items():
                check_steps(method_named(name).configure(described.methods.get(name, {}), given), name)
    assert call(monkeypatch, "presets") == 0
    assert "dreambooth           masters bf16, fused true, clip 0.0" in capsys.readouterr().out


def test_a_preset_is_called_by_a_size() -> None:
    table = tiny_base().description
    with pytest.raises(TriptychError, match="the preset 'small' of a base is not called by a size"):
        Description(**{**vars(table), "presets": {"small": {}}})


def numbers(settings: WholeTraining, count: int) -> float:
    """Bytes of weights, those below, the optimiser's state and gradients, where all of `count` weights train."""
    own, below = (2, 0) if settings.masters == "bf16" else (4, 2)  # on a base in bfloat16; below bf16 masters: in files
    return count * (own + below + 4 * MOMENTS[settings.optimizer] + (0 if settings.fused else own))


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES)
def test_presets_leave_room_for_a_pass_on_the_denoisers_real_sizes(family: str) -> None:
    """What passes take is not in it, nor the text encoders: see `benchmarks/cards.py`."""
    unet = shell("unet", configuration(family_named(family).configurations, "unet"))
    count, described = sum(p.numel() for p in unet.parameters()), Description.of(None, family)
    for card, own in described.presets.items():
        for name in ("dreambooth", "fine-tune"):
            usual = described.methods[name]
            with_it, without = (
                numbers(method_named(name).configure(usual, given), count) for given in (own.get(name, {}), {})
            )
            assert with_it < 0.85 * bytes_of(card)
            assert name not in own or without > 0.85 * bytes_of(card), "a preset sets what is needed"


@pytest.mark.slow
def test_free_memory_is_a_size(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path, folder: Path, random_base: Path
) -> None:
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=5_000_000_000))
    words = ("train", "lora", folder, "--out", tmp_path / "one.safetensors", "--base", random_base / "base", *FAST)
    assert call(monkeypatch, *words, "--memory", "free") == 0
    assert "of 5 GB: " in " ".join(capsys.readouterr().err.split())
    assert tomllib.loads((tmp_path / "one.toml").read_text())["memory"] == "free"
    assert call(monkeypatch, *words, "--memory", "fere", "--overwrite") == 2
    assert "--memory takes a size such as 12GB, or free, not 'fere'" in capsys.readouterr().err


def test_free_memory_of_a_card_counts_what_this_process_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (7_000, 24_000))
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda device: 2_000)
    assert free_memory(torch.device("cuda")) == 9_000


def test_a_base_is_as_before_where_a_plan_refuses(base: Base) -> None:
    given = {"batch": 1, "prior_weight": 0, "steps": 2, "fixed_every": 0, "fused": True, "clip": 0.0}
    alone = fit(base, [trial("dreambooth", **given)])[0]
    with pytest.raises(TriptychError, match="do not hold this training"):
        fit(base, [trial("dreambooth", **given)], memory=10_000)
    assert not any(p.requires_grad for module in base.modules().values() for p in module.parameters())
    assert gap(fit(base, [trial("dreambooth", **given)])[0].tensors, alone.tensors) == 0
