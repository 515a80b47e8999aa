"""LoRA that starts from the weight's own factors (PiSSA, OLoRA), and LoRA+, whose B learns faster than A."""

from __future__ import annotations

import json
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest
import torch
from diffusers import StableDiffusionPipeline
from torch import Tensor, nn

from tests.plain import first_fast
from tests.test_laws import KilledError, kill_at, unchanged
from tests.worlds import examples, gap, look, settings, trial
from triptych.app.remarks import remarks_on
from triptych.base import Base, Changes, Rows
from triptych.exchange.artifact import Artifact
from triptych.exchange.conversion import ConversionRequest, convert
from triptych.exchange.formats import open_artifact
from triptych.exchange.inspection import inspect
from triptych.exchange.saving import save
from triptych.files.tensorfile import TensorFile
from triptych.methods import method_named
from triptych.patching.adapter_changes import change_for
from triptych.patching.adapter_starts import FROZEN, WEIGHT_FACTORS, from_weight, lora, principal
from triptych.patching.adapters import change_of, plain
from triptych.patching.patch import Learned
from triptych.training.fit import fit
from triptych.training.moments import Moment

ALPHA, RANK, STEPS = 6.0, 3, 20


def trained(parameters: list[Tensor], forward: Any, seen: Tensor, aim: Tensor) -> None:
    optimizer = torch.optim.AdamW(parameters, lr=1e-2, weight_decay=0.1)
    for _ in range(STEPS):
        optimizer.zero_grad()
        nn.functional.mse_loss(forward(seen), aim).backward()
        optimizer.step()


@pytest.mark.parametrize("name", WEIGHT_FACTORS)
def test_as_peft_trains_it(name: str) -> None:
    import peft

    torch.manual_seed(2)
    layer = nn.Linear(12, 16)
    before = layer.weight.detach().clone()
    seen, aim = torch.randn(40, 12), torch.randn(40, 16)

    wrapped = peft.get_peft_model(
        nn.Sequential(deepcopy(layer)),
        peft.LoraConfig(r=RANK, lora_alpha=cast(int, ALPHA), target_modules=["0"], init_lora_weights=cast(Any, name)),
    )
    theirs = cast(Any, wrapped.base_model).model[0]
    halves = [theirs.lora_A["default"].weight, theirs.lora_B["default"].weight]
    trained(halves, theirs, seen, aim)
    expected = theirs.base_layer.weight + theirs.get_delta_weight("default")

    random = torch.Generator().manual_seed(0)
    leaves = from_weight(name, layer.weight, lora(layer.weight, RANK, random), ALPHA / RANK, random)
    patch, changes = Learned(leaves, 1.0, torch.device("cpu")), Changes(Rows())
    for leaf in ("lora_A.weight", "lora_B.weight"):
        patch.learned[leaf].requires_grad_(True)
    with changes.on(layer, "gives", change_for(patch, "x", layer, patch.learned, ALPHA, None)):
        assert torch.equal(layer(seen), nn.functional.linear(seen, before, layer.bias)), "nothing changes yet"
        trained([patch.learned["lora_A.weight"], patch.learned["lora_B.weight"]], layer, seen, aim)
        ours = layer(seen)
    assert torch.equal(layer.weight, before)
    change = change_of("x", patch.learned, before, ALPHA)
    assert float(change.detach().abs().max()) > 0.1
    assert torch.allclose(before + change, expected, atol=2e-3)
    assert torch.allclose(ours, nn.functional.linear(seen, before + change, layer.bias), atol=1e-5)
    file = plain({f"x.{leaf}": tensor for leaf, tensor in patch.learned.items()}, ALPHA)
    assert {leaf: tuple(tensor.shape) for leaf, tensor in file.items()} == {
        "x.lora_A.weight": (2 * RANK, 12), "x.lora_B.weight": (16, 2 * RANK),
    }  # fmt: skip
    kept = {leaf.removeprefix("x."): tensor for leaf, tensor in file.items()}
    assert torch.allclose(change_of("x", kept, before, ALPHA), change, atol=1e-6)
    rounded = {leaf: tensor.half().float() for leaf, tensor in kept.items()}
    lost = (change_of("x", rounded, before, ALPHA) - change).norm() / change.norm()
    assert float(lost.detach()) < 2**-10, "16 bits lose of the change, not of the large products"


@pytest.mark.parametrize("shape", [(16, 12), (6, 40), (8, 4, 3, 3)])
@pytest.mark.parametrize("rank", [3, 20])
def test_the_principal_components_are_those_of_the_whole_decomposition(shape: tuple[int, ...], rank: int) -> None:
    weight = torch.randn(shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64).float()
    random = torch.Generator().manual_seed(0)
    a, b = principal(weight.flatten(1), rank, 0.5, random)
    u, s, v = torch.linalg.svd(weight.flatten(1), full_matrices=False)
    best = (u[:, :rank] * s[:rank]) @ v[:rank]
    assert torch.allclose(0.5 * b @ a, best, atol=1e-4)
    assert torch.allclose(a.norm(dim=1), b.norm(dim=0), atol=1e-4), "both have the roots of the singular values"
    leaves = from_weight("pissa", weight, lora(weight, rank, random), 0.5, random)
    assert leaves["lora_A.weight"].shape == (rank, *shape[1:])
    assert leaves["lora_B.weight"].shape[:2] == (shape[0], rank)
    assert not leaves["lora_B.weight"][:, len(s) :].any(), "what is above the weight's rank starts as LoRA does"


@pytest.mark.slow
@pytest.mark.parametrize(
    "more",
    first_fast(
        [{}, {"conv_rank": 2, "text_lr": 1e-3, "rslora": True, "dropout": 0.1}, {"alpha": 0.0}], mark="thorough"
    ),
)
@pytest.mark.parametrize("name", WEIGHT_FACTORS)
def test_it_starts_at_the_base_learns_otherwise_and_its_file_is_a_plain_lora(
    base: Base, name: str, more: dict[str, Any], tmp_path: Path
) -> None:
    one = trial("lora", initialisation=name, rank=2, schedule="constant", steps=12, fixed_every=12, **more)
    before, start = look(base), one.kind.start(base, one.settings, one.seed)
    with unchanged(base), Artifact("lora", one.settings, start).apply(base):
        assert torch.equal(look(base), before)
    seen = dict[int, Tensor]()

    def watch(moment: Moment) -> None:
        with moment.as_kept():
            seen[moment.done] = look(base)
        if moment.done == 12:
            assert gap(moment.tensors(None), moment.tensors(None)) == 0

    with unchanged(base):
        fitted = fit(base, [one], watch=watch)[0]
    usual = fit(base, [replace(one, settings=replace(one.settings, initialisation="zero"))])[0]
    assert fitted.fixed[-1][1] < fitted.fixed[0][1]
    assert fitted.losses[0] == usual.losses[0] and fitted.losses[1:] != usual.losses[1:]
    assert not any(leaf in tensor for tensor in fitted.tensors for leaf in FROZEN if leaf != "alpha")
    artifact = Artifact("lora", one.settings, fitted.tensors, {"seed": "1"})
    for layout in ("triptych", "kohya-lora", "diffusers-lora"):
        path = tmp_path / f"{layout}.safetensors"
        save(artifact, path, to=layout, base=base)
        with open_artifact(path).apply(base):
            assert torch.allclose(look(base), seen[12], atol=1e-5), layout
    assert not torch.allclose(seen[12], before, atol=1e-3)


def test_the_real_rank_is_said_and_other_programs_draw_the_same(base: Base, tmp_path: Path) -> None:
    one = trial("lora", initialisation="pissa", rank=2, conv_rank=3, lr=2e-2)
    artifact = Artifact("lora", one.settings, fit(base, [one])[0].tensors, {"seed": "1"})
    for layout in ("triptych", "kohya-lora", "diffusers-lora"):
        save(artifact, tmp_path / f"{layout}.safetensors", to=layout, base=base)
    header = TensorFile.open(tmp_path / "triptych.safetensors").metadata
    stated = json.loads(header["lora_adapter_metadata"])
    assert stated["unet.r"] == 4
    assert set(stated["unet.rank_pattern"].values()) == {6}
    assert TensorFile.open(tmp_path / "kohya-lora.safetensors").metadata["ss_network_dim"] == "4"
    assert inspect(tmp_path / "triptych.safetensors").details["rank"] == 4
    assert inspect(tmp_path / "kohya-lora.safetensors").details["rank"] == "4 to 6"
    one = trial("lora", initialisation="pissa", rank=2, lr=2e-2)
    artifact = Artifact("lora", one.settings, fit(base, [one])[0].tensors, {"seed": "1"})
    for layout in ("triptych", "kohya-lora", "diffusers-lora"):
        save(artifact, tmp_path / f"{layout}.safetensors", to=layout, base=base)
    convert(ConversionRequest(tmp_path / "triptych.safetensors", "diffusers-lora", tmp_path / "c.safetensors"))
    noisy = torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(1))
    times, text = torch.tensor([10, 500]), base.encode(["a dog"] * 2)
    with torch.no_grad():
        with artifact.apply(base):
            ours = base.denoise(noisy, times, text)
        plainly = base.denoise(noisy, times, text)
        encoder = base.texts[0]
        pipeline = StableDiffusionPipeline(
            base.vae, encoder.encoder, encoder.tokenizer, base.denoiser.module, base.process.schedule, None, None,
            requires_safety_checker=False,
        )  # fmt: skip
        for file in ("triptych", "kohya-lora", "diffusers-lora", "c"):
            pipeline.load_lora_weights(tmp_path, weight_name=f"{file}.safetensors", adapter_name=file.replace("-", ""))
            theirs = pipeline.unet(noisy, times, encoder_hidden_states=text.hidden).sample
            pipeline.unload_lora_weights()
            assert torch.allclose(theirs, ours, atol=2e-5), file
    assert not torch.allclose(ours, plainly, atol=1e-3)


@pytest.mark.slow
def test_it_shares_a_pass_resumes_and_depends_on_its_seed_alone(base: Base, tmp_path: Path) -> None:
    given: dict[str, Any] = {"initialisation": "pissa", "ema": 0.9, "rescue": 1.5, "fixed_every": 2, "keep": "best"}
    several = [
        trial("lora", "a", 1, **given), trial("lora", "b", 2), trial("lora", "c", 3, **given),
        trial("lora", "d", 4, **{**given, "initialisation": "olora"}), trial("lora", "e", 4, lora_plus=8.0),
        trial("lora", "f", 5, lora_plus=4.0),
    ]  # fmt: skip
    together = fit(base, several)
    for fitted, each in zip(together, several, strict=True):
        assert gap(fitted.tensors, fit(base, [replace(each, owner=None)])[0].tensors) < 2e-4
    with pytest.raises(KilledError):
        fit(base, several, state=tmp_path / "state.pt", every=1, progress=kill_at(3))
    torch.manual_seed(123)
    for a, b in zip(together, fit(base, several, state=tmp_path / "state.pt"), strict=True):
        assert gap(a.tensors, b.tensors) == 0


def test_b_learns_faster_by_lora_plus(base: Base) -> None:
    def ends(**given: Any) -> dict[str, Tensor]:
        return fit(base, [trial("lora", schedule="constant", steps=1, clip=0.0, **given)])[0].tensors

    one, plus = ends(text_lr=1e-4), ends(text_lr=1e-4, lora_plus=8.0)
    for name, tensor in one.items():
        if "lora_B" in name:
            assert torch.allclose(plus[name], 8 * tensor, rtol=1e-3, atol=1e-9), name
            assert tensor.any()
        else:
            assert torch.equal(plus[name], tensor), name
    assert gap(ends(algorithm="dora"), ends(algorithm="dora", lora_plus=8.0)) > 1e-3
    assert gap(ends(algorithm="loha"), ends(algorithm="loha", lora_plus=8.0)) == 0


def test_what_goes_with_no_other_algorithm_is_said(base: Base) -> None:
    given: dict[str, Any] = {"initialisation": "pissa", "lora_plus": 16.0, "algorithm": "loha"}
    assert remarks_on(base, "lora", given, settings("lora", **given), "dog", examples(3))[:2] == [
        "lora: initialisation does nothing with algorithm loha", "lora: lora_plus does nothing with algorithm loha",
    ]  # fmt: skip
    start = method_named("lora").start(base, settings("lora", **given), 1)
    assert gap(start, method_named("lora").start(base, settings("lora", algorithm="loha"), 1)) == 0
