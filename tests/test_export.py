"""What is written as a checkpoint, a folder or an extracted LoRA, read by others or by plain linear algebra."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file
from torch import Tensor

from tests.originals import UNET, small_checkpoint, small_configurations, small_shapes
from tests.plain import first_fast
from triptych.base import Base, Ddpm, UNet
from triptych.base.opening.names import family_of_config
from triptych.base.opening.single import open_single
from triptych.base.text import Text
from triptych.base.tiny import description
from triptych.errors import TriptychError
from triptych.exchange.export import Change, write_diffusers_folder, write_single_file
from triptych.exchange.extract import extract_lora

NAMES = (("text_encoder", "clip_l"), ("text_encoder_2", "clip_g"))
HALF = 0.5


@dataclass(frozen=True)
class World:
    base: Base
    source: Path
    tensors: dict[str, Tensor]
    folder: Path  # of configurations
    change: Change
    expected: dict[str, Tensor]  # every weight, changed, in float32


@pytest.fixture(scope="module", params=first_fast(["sd1", "sd2", "sdxl"]))
def world(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> World:
    place = tmp_path_factory.mktemp(request.param)
    source = place / "some.safetensors"
    tensors = small_checkpoint(source, request.param, metadata={"sd_merge_recipe": "{}"}, strange=torch.arange(3))
    folder = small_configurations(place / "parts", request.param)
    parts = open_single(source, torch.float32, torch.device("cpu"), configurations=folder, prediction="v")
    two = len(parts.text_encoders) == 2
    texts = tuple(
        Text(name, tokenizer, encoder, embedding, penultimate=two)
        for (name, embedding), tokenizer, encoder in zip(NAMES, parts.tokenizers, parts.text_encoders, strict=False)
    )
    base = Base(str(source), texts, parts.vae, UNet(parts.unet), Ddpm(parts.schedule), description(), 32)
    weights = {f"{part}.{n}": w for part, m in base.modules().items() for n, w in m.state_dict().items()}
    random = torch.Generator().manual_seed(3)
    moved = [n for n in weights if n.startswith("unet.") or "layers.0.self_attn.k_proj.weight" in n]  # a third alone
    differences = {name: (torch.randn(weights[name].shape, generator=random) * 0.05).half() for name in moved}
    expected = weights | {name: weights[name] + HALF * differences[name].float() for name in moved}
    return World(base, source, tensors, folder, Change(differences, HALF), expected)


def diffusers_unet(path: Path, folder: Path) -> dict[str, Tensor]:
    from diffusers import UNet2DConditionModel

    read = UNet2DConditionModel.from_single_file(
        str(path), config=str(folder), subfolder="unet", torch_dtype=torch.float32
    )
    state: dict[str, Tensor] = read.state_dict()
    return state


def test_a_checkpoint_from_modules_has_the_names_of_the_list(world: World, tmp_path: Path) -> None:
    family = {1: "sd2" if world.base.texts[0].tokenizer.pad_token_id == 0 else "sd1", 2: "sdxl"}[len(world.base.texts)]
    path, listed = tmp_path / "it.safetensors", small_shapes(family)
    write_single_file(world.base, path, world.change, dtype=torch.float16)
    written = {key: tuple(tensor.shape) for key, tensor in load_file(path).items()}
    unread = ("position_ids", "logit_scale") + ((".resblocks.23.", "text_projection") if family == "sd2" else ())
    assert written == {key: s for key, s in listed.items() if not any(word in key for word in unread)}


@pytest.mark.slow
def test_diffusers_reads_the_changed_weights(world: World, tmp_path: Path) -> None:
    write_single_file(world.base, tmp_path / "a.safetensors", world.change)
    write_single_file(world.base, tmp_path / "b.safetensors", world.change, source=world.source, dtype=torch.float32)
    for name in ("a", "b"):
        for key, weight in diffusers_unet(tmp_path / f"{name}.safetensors", world.folder).items():
            assert torch.equal(weight, world.expected[f"unet.{key}"]), (name, key)


@pytest.mark.slow
def test_what_is_not_changed_is_kept_as_in_the_checkpoint(world: World, tmp_path: Path) -> None:
    path = tmp_path / "it.safetensors"
    write_single_file(world.base, path, world.change, source=world.source)
    written = load_file(path)
    assert written.keys() == world.tensors.keys()
    changed = {key for key, tensor in world.tensors.items() if not torch.equal(written[key], tensor)}
    text = changed - {key for key in world.tensors if key.startswith(UNET)}
    assert {key for key in world.tensors if key.startswith(UNET)} <= changed
    assert text and all("layers.0.self_attn.k_proj.weight" in k or "resblocks.0.attn.in_proj_weight" in k for k in text)
    for key in text:
        if "in_proj" in key:  # queries and values stay
            ours, before = written[key].chunk(3), world.tensors[key].chunk(3)
            assert [torch.equal(a, b) for a, b in zip(ours, before, strict=True)] == [True, False, True]
    assert all(written[key].dtype == tensor.dtype for key, tensor in world.tensors.items())
    with safe_open(path, "pt") as file:
        assert file.metadata()["sd_merge_recipe"] == "{}"


@pytest.mark.slow
def test_rounding_is_stated(world: World, tmp_path: Path) -> None:
    path = tmp_path / "it.safetensors"
    said = write_single_file(world.base, path, world.change)
    assert "of their size" not in said
    assert bool(said) == ("last block" in said) == (family_of_config(world.base.denoiser.module.config).name == "sd2")
    exact = load_file(path)
    said = write_single_file(world.base, path, world.change, dtype=torch.float16)
    lost = sum(float((exact[k].double() - t.double()).square().sum()) for k, t in load_file(path).items())
    whole = sum(float(tensor.double().square().sum()) for tensor in exact.values())
    assert f"by {(lost / whole) ** 0.5:.1e} of their size" in said
    huge = Change({"unet.conv_in.bias": torch.full((8,), 1e5)})
    with pytest.raises(TriptychError, match=r"float16: .*input_blocks\.0\.0\.bias"):
        write_single_file(world.base, tmp_path / "no.safetensors", huge, dtype=torch.float16)
    assert not (tmp_path / "no.safetensors").exists()


@pytest.mark.slow
def test_the_hash_is_that_of_the_tensors(world: World, tmp_path: Path) -> None:
    path = tmp_path / "it.safetensors"
    write_single_file(world.base, path, metadata={"modelspec.title": "it"})
    data = path.read_bytes()
    digest = hashlib.sha256(data[8 + int.from_bytes(data[:8], "little") :]).hexdigest()
    with safe_open(path, "pt") as file:
        assert file.metadata()["sshs_model_hash"] == digest
        assert file.metadata()["modelspec.hash_sha256"] == f"0x{digest}"


@pytest.mark.slow
def test_diffusers_opens_the_folder(world: World, tmp_path: Path) -> None:
    from diffusers import StableDiffusionPipeline, StableDiffusionXLPipeline

    assert write_diffusers_folder(world.base, tmp_path / "it", world.change) == ""
    kind = StableDiffusionXLPipeline if len(world.base.texts) == 2 else StableDiffusionPipeline
    read = kind.from_pretrained(tmp_path / "it")
    for part, module in world.base.modules().items():
        theirs = getattr(read, part).state_dict()
        assert theirs.keys() == module.state_dict().keys()
        for name, weight in theirs.items():
            assert torch.equal(weight, world.expected[f"{part}.{name}"]), (part, name)
    assert read.scheduler.config.prediction_type == "v_prediction"
    assert read.scheduler.config.beta_end == world.base.process.schedule.config.beta_end
    assert read.tokenizer("a cat").input_ids == [49406, 320, 2368, 49407]


def test_a_difference_of_another_base_is_refused(world: World, tmp_path: Path) -> None:
    for name in ("unet.conv_in.bias", "unet.conv_on.bias"):
        with pytest.raises(TriptychError, match=f"another kind of base: {name}"):
            write_single_file(world.base, tmp_path / "it.safetensors", Change({name: torch.zeros(9)}))


# --- a LoRA out of a difference -------------------------------------------------------------------------------------


def difference(seed: int = 0) -> dict[str, Tensor]:
    random = torch.Generator().manual_seed(seed)
    shapes = {
        "unet.a.to_q.weight": (12, 7), "unet.a.ff.weight": (5, 20), "unet.a.conv.weight": (6, 4, 3, 3),
        "unet.a.norm.weight": (9,), "unet.a.to_q.bias": (12,), "text_encoder.embeddings.token_embedding.weight": (8, 6),
    }  # fmt: skip
    return {name: torch.randn(shape, generator=random, dtype=torch.float64) for name, shape in shapes.items()}


LAYERS = ("unet.a.to_q", "unet.a.ff", "unet.a.conv")


def product(tensors: dict[str, Tensor], layer: str) -> Tensor:
    a, b = (tensors[f"{layer}.lora_{letter}.weight"].double().flatten(1) for letter in "AB")
    return b @ a


@pytest.mark.parametrize("rank", [1, 3, 5, 30])
def test_the_nearest_change_of_that_rank_is_taken(rank: int) -> None:
    whole = difference()
    found = extract_lora(whole, rank)
    lost = 0.0
    for layer in LAYERS:
        matrix = whole[f"{layer}.weight"].flatten(1)
        u, s, v = torch.linalg.svd(matrix, full_matrices=False)
        assert torch.allclose(product(found.tensors, layer), (u[:, :rank] * s[:rank]) @ v[:rank], atol=1e-5)
        lost += float(s[rank:].square().sum())
    others = [t for name, t in whole.items() if name.removesuffix(".weight") not in LAYERS]
    lost += sum(float(tensor.square().sum()) for tensor in others)  # norms, biases, embeddings
    energy = sum(float(tensor.square().sum()) for tensor in whole.values())
    assert found.retained == pytest.approx(1 - lost / energy)
    assert found.error == pytest.approx((lost / energy) ** 0.5)
    assert found.tensors["unet.a.conv.lora_A.weight"].shape == (rank, 4, 3, 3)
    assert found.tensors["unet.a.conv.lora_B.weight"].shape == (6, rank, 1, 1)


def test_a_change_of_low_rank_comes_back_whole() -> None:
    random = torch.Generator().manual_seed(1)
    matrix = torch.randn(30, 2, generator=random) @ torch.randn(2, 40, generator=random)
    found = extract_lora({"unet.a.weight": matrix}, 8)
    assert found.retained == pytest.approx(1, abs=1e-9)
    assert torch.allclose(product(found.tensors, "unet.a").float(), matrix, atol=1e-4)


def test_the_least_rank_with_enough_energy() -> None:
    whole = {name: tensor for name, tensor in difference().items() if name.removesuffix(".weight") in LAYERS}
    found = extract_lora(whole, 30, energy=0.8)
    assert found.retained >= 0.8 > extract_lora(whole, found.rank - 1).retained
    assert extract_lora(whole, 1, energy=0.99).rank == 1


def test_nothing_to_take() -> None:
    for change in ({}, {"unet.norm.weight": torch.ones(3)}, {"unet.a.weight": torch.zeros(3, 3)}):
        with pytest.raises(TriptychError, match="no change of a linear"):
            extract_lora(change, 4)
    with pytest.raises(TriptychError, match="rank of 1 or more"):
        extract_lora(difference(), 0)
