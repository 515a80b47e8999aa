"""Weights that are not trained, stored otherwise: the result is that of a base whose weights have the same rounding."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import cycle
from typing import Any

import pytest
import torch
from torch import nn

from tests.test_laws import SHARING, TRAINED, unchanged
from tests.worlds import gap, look, trial
from triptych.base import Base, tiny_base
from triptych.errors import TriptychError
from triptych.training.fit import fit
from triptych.training.frozen import LAYERS, in_eight_bits, stored


def in_type(weight: torch.Tensor, kind: str) -> torch.Tensor:
    """A weight as it comes back."""
    if kind == "bf16":
        return weight.bfloat16().to(weight.dtype)
    values, scale = in_eight_bits(weight)
    return (values.float() * scale).to(weight.dtype)


@contextmanager
def rounded(base: Base, kind: str) -> Iterator[None]:
    """The base with the rounding of a storage."""
    layers = [layer for layer in base.denoiser.module.modules() if isinstance(layer, LAYERS)]
    before = [layer.weight.data for layer in layers]
    for layer in layers:
        layer.weight.data = in_type(layer.weight.data, kind)
    yield
    for layer, weight in zip(layers, before, strict=True):
        layer.weight.data = weight


def test_eight_bits_keep_a_sixteenth() -> None:
    weight = torch.randn(7, 5, 3, 3) * torch.logspace(-6, 3, 7).reshape(7, 1, 1, 1)
    error = (in_type(weight, "fp8") - weight).abs()
    greatest = weight.abs().amax(dim=(1, 2, 3), keepdim=True)
    assert bool((error <= torch.maximum(weight.abs() / 16, greatest / 1000)).all())
    assert torch.equal(in_type(torch.zeros(2, 3), "fp8"), torch.zeros(2, 3))


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "checkpointing"), [("bf16", False), ("fp8", True)])
@pytest.mark.parametrize("method", SHARING[::2])
def test_it_trains_as_on_a_base_of_that_rounding(base: Base, method: str, checkpointing: bool, kind: str) -> None:
    given: dict[str, Any] = {"steps": 3, "batch": 2, "checkpointing": checkpointing}
    with rounded(base, kind):
        expected = fit(base, [trial(method, **given)])[0]
    with unchanged(base):
        found = fit(base, [trial(method, frozen=kind, **given)])[0]
    assert (found.losses, found.fixed) == (expected.losses, expected.fixed)
    assert gap(found.tensors, expected.tensors) == 0
    assert gap(found.tensors, fit(base, [trial(method, **given)])[0].tensors) > 0


@pytest.mark.slow
@pytest.mark.parametrize(("method", "offload"), list(zip(TRAINED, cycle(["idle", "all"]), strict=False)))
def test_weights_that_wait_in_files_change_no_bit(base: Base, method: str, offload: str) -> None:
    given: dict[str, Any] = {"steps": 3, "batch": 2}
    expected = fit(base, [trial(method, **given)])[0]
    with unchanged(base):
        found = fit(base, [trial(method, offload=offload, **given)])[0]
    assert (found.losses, found.fixed) == (expected.losses, expected.fixed)
    assert gap(found.tensors, expected.tensors) == 0


@pytest.mark.slow
def test_eight_bits_in_files(base: Base) -> None:
    given: dict[str, Any] = {"steps": 3, "batch": 2, "frozen": "fp8"}
    found, expected = (fit(base, [trial("lora", **given, **more)])[0] for more in ({"offload": "all"}, {}))
    assert gap(found.tensors, expected.tensors) == 0


def test_pictures_are_sampled_with_what_waits(base: Base) -> None:
    """Whatever the mode of autograd."""
    from PIL import Image

    pictures, seen = [Image.new("RGB", (32, 32), "red")], look(base)
    latents = base.latents(pictures)
    with stored(base, [], "as-is", "all", ["vae", "text_encoder"]):
        assert torch.equal(look(base), seen)
        assert torch.equal(base.latents(pictures), latents)
        with torch.inference_mode():
            assert base.decode(latents)[0].size == (32, 32)
    with stored(base, [], "fp8", "none", []) as size:
        assert 0 < size < 0.3 * base.size
        with torch.inference_mode():
            base.denoise(latents, torch.tensor([3]), base.encode(["a dog"]))
        near = look(base)
        assert 0 < float((near - seen).abs().max()) < 0.2 * float(seen.abs().max())


def test_what_waits_cannot_be_taken_for_a_weight(base: Base) -> None:
    with stored(base, [], "fp8", "none", []):
        layer = next(each for each in base.denoiser.module.modules() if isinstance(each, nn.Linear))
        assert bool(layer.weight.isnan().all())


def test_the_base_comes_back_after_an_error(base: Base) -> None:
    with unchanged(base), pytest.raises(KeyError), stored(base, [], "fp8", "all", ["vae"]):
        raise KeyError("boom")


def test_bf16_on_a_base_of_16_bits_is_refused() -> None:
    half = tiny_base(dtype=torch.bfloat16)
    with unchanged(half), pytest.raises(TriptychError, match="saves nothing on a base that is opened in bfloat16"):
        fit(half, [trial("lora", frozen="bf16")])


def test_where_all_weights_are_trained_there_is_nothing_to_store(base: Base) -> None:
    with unchanged(base), pytest.raises(TriptychError, match="frozen=fp8 has nothing to store"):
        fit(base, [trial("dreambooth", frozen="fp8")])
