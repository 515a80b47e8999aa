"""Files that are not what they should be, settings that do not fit."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from tests.worlds import learned, trial
from triptych.base import Base, tiny_base
from triptych.errors import TriptychError
from triptych.exchange.formats import open_artifact
from triptych.exchange.saving import save
from triptych.methods import method_named


def refused(path: Path, why: str) -> None:
    with pytest.raises(TriptychError, match=why):
        open_artifact(path)


def test_files_that_cannot_be_opened(tmp_path: Path) -> None:
    refused(tmp_path / "nothing.safetensors", "there is no file")
    (tmp_path / "text.safetensors").write_text("hello")
    refused(tmp_path / "text.safetensors", r"is a text \('hello'\), not a file of tensors")
    save_file({"a": torch.zeros(1)}, tmp_path / "foreign.safetensors")
    refused(tmp_path / "foreign.safetensors", "of no kind that triptych knows")
    lora = '{"schema": 1, "method": "lora", "settings": {}}'
    save_file({"a": torch.tensor([float("nan")])}, tmp_path / "nan.safetensors", {"triptych": lora})
    refused(tmp_path / "nan.safetensors", "not finite")
    for name, recipe in (
        ("broken", "{"),
        ("empty", "{}"),
        ("newer", '{"schema": 99, "method": "lora", "settings": {}}'),
    ):
        save_file({"a": torch.zeros(1)}, tmp_path / f"{name}.safetensors", {"triptych": recipe})
    refused(tmp_path / "broken.safetensors", "cannot be read")
    refused(tmp_path / "empty.safetensors", "cannot be read")
    refused(tmp_path / "newer.safetensors", "newer triptych")


@pytest.mark.slow
def test_another_kind_of_base_is_refused(base: Base) -> None:
    artifact = learned(base, trial("lora", rank=3))
    with pytest.raises(TriptychError, match=r"made for another kind of base: unet\.down_blocks.*lora_A"):
        artifact.apply(tiny_base(kind="sdxl")).__enter__()


def test_settings() -> None:
    lora = method_named("lora")
    assert lora.configure({"rank": 4}, {"rank": "16", "lr": "1e-3"}).rank == 16
    for given, why in (
        ({"rnak": 1}, "did you mean 'rank'"),
        ({"rank": "x"}, "whole number"),
        ({"rank": "0"}, "at least 1"),
        ({"lr": "nan"}, "at least 0"),
        ({"targets": "atention"}, "did you mean 'attention'"),
    ):
        with pytest.raises(TriptychError, match=why):
            lora.configure(given)
    with pytest.raises(TriptychError, match="did you mean 'lora'"):
        method_named("lorra")


def test_hypernetwork_settings(base: Base) -> None:
    hypernetwork = method_named("hypernetwork")
    names = hypernetwork.start(base, hypernetwork.configure({"widths": "cross", "activation": "relu"}), 0)
    assert set(names) == {f"12.{net}.linear.{i}.{part}" for net in "kv" for i in (0, 2) for part in ("weight", "bias")}
    for given in ({"widths": "13"}, {"widths": "x"}, {"layers": "1,2"}, {"layers": "a"}):
        with pytest.raises(TriptychError):
            hypernetwork.start(base, hypernetwork.configure(given), 0)


@pytest.mark.slow
def test_a_lora_loads_in_diffusers(base: Base, tmp_path: Path) -> None:
    """The file's names and scale are those that diffusers reads: its pipeline predicts what our patch predicts."""
    from diffusers import StableDiffusionPipeline

    artifact = learned(base, trial("lora", rank=2, alpha=6.0))
    save(artifact, tmp_path / "lora.safetensors")
    noisy, t = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(0)), torch.tensor([300])
    context = base.encode(["a dog"])
    with torch.no_grad(), artifact.apply(base):
        ours = base.denoise(noisy, t, context)
    other = tiny_base()
    pipeline = StableDiffusionPipeline(
        other.vae,
        other.texts[0].encoder,
        other.texts[0].tokenizer,
        other.denoiser.module,
        other.process.schedule,
        None,
        None,
        requires_safety_checker=False,
    )
    pipeline.load_lora_weights(tmp_path, weight_name="lora.safetensors")
    with torch.no_grad():
        theirs = other.denoiser.module(noisy, t, context.hidden).sample
        assert not torch.allclose(base.denoise(noisy, t, context), ours, atol=1e-4)
    assert torch.allclose(ours, theirs, atol=1e-5)


def test_an_embedding_is_one_tensor_and_carries_its_recipe(base: Base, tmp_path: Path) -> None:
    save(learned(base, trial("textual-inversion", vectors=3)), tmp_path / "word.safetensors")
    with safe_open(tmp_path / "word.safetensors", framework="pt") as file:
        assert list(file.keys()) == ["emb_params"]
        assert file.get_tensor("emb_params").shape == (3, 12)
        recipe = json.loads(file.metadata()["triptych"])
    assert recipe["method"] == "textual-inversion"
    assert recipe["settings"]["vectors"] == 3
