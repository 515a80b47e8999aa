"""The method in docs/extending.md is one file, and it passes the laws."""

from __future__ import annotations

import importlib.util
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from tests import test_laws as laws
from tests.worlds import FAST, learned, trial
from triptych.base import Base, Place, open_base, tiny_base
from triptych.errors import TriptychError
from triptych.exchange.conversion import ConversionRequest, convert
from triptych.exchange.saving import save
from triptych.methods import PLUGINS

PAGE = Path(__file__).parents[1] / "docs" / "extending.md"


@pytest.fixture
def bitfit(tmp_path: Path) -> Iterator[str]:
    code = re.search(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    assert code
    path = tmp_path / "bitfit.py"
    path.write_text(code[1])
    spec = importlib.util.spec_from_file_location("bitfit", path)
    assert spec
    assert spec.loader
    module = sys.modules["bitfit"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    FAST["bitfit"] = {"lr": 1e-2}
    try:
        with PLUGINS.added(module.BitFit):
            yield "bitfit"
    finally:
        for registry in (FAST, sys.modules):
            registry.pop("bitfit", None)


@pytest.mark.slow
def test_it_passes_the_laws(base: Base, bitfit: str, tmp_path: Path) -> None:
    laws.test_leaving_restores_the_base_bit_for_bit(base, bitfit)
    laws.test_strength_0_is_the_base_and_1_the_artifact(base, bitfit)
    for other in laws.ALL:
        laws.test_different_methods_compose_in_any_order(base, bitfit, other)
    laws.test_fit_moves_finite_tensors(base, bitfit)
    laws.test_learning_rate_0_learns_nothing(base, bitfit)
    laws.test_saved_and_opened_is_the_same(base, bitfit, tmp_path)
    laws.test_killed_and_resumed_equals_uninterrupted(base, [bitfit], tmp_path)
    laws.test_every_method_explains_itself()


@pytest.mark.slow
def test_it_trains_in_half_precision(bitfit: str) -> None:
    """Only the biases become float32 masters; the weights of the same norms must follow for as long as they do."""
    base = tiny_base(dtype=torch.bfloat16)
    with laws.unchanged(base):
        artifact = learned(base, trial(bitfit))
    plain = laws.look(base)
    with artifact.apply(base):
        assert not torch.equal(laws.look(base), plain)


@pytest.mark.slow
def test_it_becomes_a_checkpoint(base: Base, bitfit: str, random_base: Path, tmp_path: Path) -> None:
    """What a method that moves weights learned is a base, whatever the method is called."""
    artifact, file, place = (
        learned(base, trial(bitfit)),
        tmp_path / "biases.safetensors",
        Place(str(random_base / "base")),
    )
    save(artifact, file)
    for to, out in (("single-file", tmp_path / "whole.safetensors"), ("diffusers", tmp_path / "folder")):
        convert(ConversionRequest(file, to, out, place, precision="fp32"))
    folder, bare = open_base(str(tmp_path / "folder")), place.open()
    with artifact.apply(bare):
        assert torch.equal(laws.look(folder), laws.look(bare))
    whole = load_file(tmp_path / "whole.safetensors")
    changed = bare.denoiser.module.conv_in.bias + artifact.tensors["unet.conv_in.bias"].float()
    assert torch.equal(whole["model.diffusion_model.input_blocks.0.0.bias"], changed)
    assert torch.equal(whole["model.diffusion_model.input_blocks.0.0.weight"], bare.denoiser.module.conv_in.weight)


def test_what_a_lora_has_no_place_for_is_said(base: Base, bitfit: str, tmp_path: Path) -> None:
    save(learned(base, trial(bitfit)), tmp_path / "biases.safetensors")
    with pytest.raises(TriptychError, match="no change of a linear or convolution layer"):
        convert(ConversionRequest(tmp_path / "biases.safetensors", "lora", tmp_path / "lora.safetensors"))


def test_it_moves_biases_only(base: Base, bitfit: str) -> None:
    tensors = learned(base, trial(bitfit)).tensors
    assert tensors
    assert all(name.endswith(".bias") for name in tensors)
