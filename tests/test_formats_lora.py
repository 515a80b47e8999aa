"""LoRA files: what other programs wrote is understood, what is written makes the same picture in other programs."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from tests.originals import listed
from tests.plain import first_fast
from tests.test_families import theirs
from tests.worlds import learned, look, trial
from triptych.base import Base, tiny_base
from triptych.base.opening.single import configuration, shell
from triptych.base.tiny import Kind
from triptych.errors import TriptychError
from triptych.exchange.artifact import Artifact
from triptych.exchange.conversion import ConversionRequest, convert
from triptych.exchange.formats import open_artifact, recognise
from triptych.exchange.saving import save
from triptych.families import FOLDER as FAMILIES
from triptych.files.tensorfile import TensorFile
from triptych.methods import method_named

PROJECTIONS = ("q_proj", "k_proj", "v_proj", "out_proj")  # all: diffusers tells kohya's text encoders by the last one


def random_lora(base: Base, seed: int = 0, *, text: bool = True, conv: bool = True, alpha: float = 3.0) -> Artifact:
    """On attention of UNet and text encoders and some convolutions, of ranks 2 and 3, with alphas of their own."""
    random = torch.Generator().manual_seed(seed)
    tensors: dict[str, Tensor] = {}
    for part, module in base.modules().items():
        root = f"{part}.text_model" if part.startswith("text") and not hasattr(module, "text_model") else part
        for i, (path, layer) in enumerate(module.named_modules()):
            wanted = (part == "unet" and path.endswith(("to_q", "to_out.0"))) or (text and path.endswith(PROJECTIONS))
            wanted = wanted or (conv and part == "unet" and path.endswith(("conv1", "proj_in")))
            if not wanted or not isinstance(layer, nn.Linear | nn.Conv2d):
                continue
            out, read, *window = layer.weight.shape
            rank = 2 + i % 2
            tensors[f"{root}.{path}.lora_A.weight"] = 0.5 * torch.randn(rank, read, *window, generator=random)
            tensors[f"{root}.{path}.lora_B.weight"] = 0.5 * torch.randn(out, rank, *[1] * len(window), generator=random)
            tensors[f"{root}.{path}.alpha"] = torch.tensor(alpha + i % 3)
    return Artifact("lora", method_named("lora").configure({"rank": 3, "alpha": alpha}), tensors)


def by_diffusers(base: Base, file: Path, strength: float) -> Tensor:
    pipeline = theirs(base)
    pipeline.load_lora_weights(file.parent, weight_name=file.name, adapter_name="x")
    pipeline.set_adapters(["x"], [strength])
    try:
        return look(base)
    finally:
        pipeline.unload_lora_weights()


@pytest.mark.slow
@pytest.mark.parametrize("strength", first_fast([0.5, 1.0]))
@pytest.mark.parametrize("to", ["kohya", "diffusers"])
@pytest.mark.parametrize("kind", first_fast(["sd1", "sd2", "sdxl"]))
def test_diffusers_draws_the_same(kind: Kind, to: str, strength: float, tmp_path: Path) -> None:
    """SDXL in kohya's layout has the names of the original layout, which diffusers maps only for the real sizes."""
    if (kind, to) == ("sdxl", "kohya"):
        pytest.skip("diffusers knows these names of the real SDXL alone; see the next test")
    base, artifact = tiny_base(kind=kind), random_lora(tiny_base(kind=kind))
    save(artifact, tmp_path / "own.safetensors")
    convert(ConversionRequest(tmp_path / "own.safetensors", to, tmp_path / "out.safetensors"))
    with artifact.apply(base, strength):
        ours = look(base)
    plain = look(base)
    assert torch.allclose(by_diffusers(tiny_base(kind=kind), tmp_path / "out.safetensors", strength), ours, atol=1e-4)
    assert not torch.allclose(ours, plain, atol=1e-3)


def merged(base: Base, file: Path, strength: float, names: dict[str, str]) -> Tensor:
    """A reader straight from kohya's specification: W + strength alpha / rank up @ down, by the keys of `names`."""
    state, modules = (
        load_file(file),
        {f"{part}.{p}": m for part, top in base.modules().items() for p, m in top.named_modules()},
    )
    for key in sorted({name.split(".")[0] for name in state}):
        up, down = (state[f"{key}.lora_{way}.weight"].float() for way in ("up", "down"))
        scale = strength * float(state[f"{key}.alpha"]) / down.shape[0]
        layer = modules[names[key]]
        with torch.no_grad():
            layer.weight += scale * (up.flatten(1) @ down.flatten(1)).reshape(layer.weight.shape)
    return look(base)


def keys_of(base: Base, kind: Kind) -> dict[str, str]:
    """kohya's key of every layer -> ours, where the UNet has diffusers' names."""
    names = {}
    for part, module in base.modules().items():
        prefix = {"unet": "lora_unet", "text_encoder": "lora_te1" if kind == "sdxl" else "lora_te"}.get(
            part, "lora_te2"
        )
        for path, _ in module.named_modules():
            inner = path if part == "unet" or path.startswith("text_model") else f"text_model.{path}"
            names[f"{prefix}_{inner.replace('.', '_')}"] = f"{part}.{path}"
    return names


TINY_SDXL = {  # the tiny SDXL's blocks in the original layout, counted by hand
    "down_blocks_0_attentions_0": "input_blocks_1_1", "down_blocks_1_attentions_0": "input_blocks_3_1",
    "mid_block_attentions_0": "middle_block_1", "up_blocks_0_attentions_0": "output_blocks_0_1",
    "up_blocks_0_attentions_1": "output_blocks_1_1", "up_blocks_1_attentions_0": "output_blocks_2_1",
    "up_blocks_1_attentions_1": "output_blocks_3_1",
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("strength", [1.0, 0.5])
@pytest.mark.parametrize("kind", ["sd1", "sdxl"])
def test_a_reader_of_the_specification_draws_the_same(kind: Kind, strength: float, tmp_path: Path) -> None:
    base, artifact = tiny_base(kind=kind), random_lora(tiny_base(kind=kind), conv=kind == "sd1")
    names = keys_of(base, kind)
    if kind == "sdxl":
        names |= {
            f"lora_unet_{there}{key.removeprefix('lora_unet_' + here)}": path
            for here, there in TINY_SDXL.items()
            for key, path in names.items()
            if key.startswith(f"lora_unet_{here}_")
        }
    from triptych.exchange.formats.kohya_lora import KohyaLora

    KohyaLora().write(artifact, tmp_path / "out.safetensors", base)
    with artifact.apply(base, strength):
        ours = look(base)
    assert torch.allclose(merged(tiny_base(kind=kind), tmp_path / "out.safetensors", strength, names), ours, atol=1e-4)


@cache
def real(family: str) -> dict[str, nn.Module]:
    """The architectures at their real sizes, without storage."""
    parts = ("unet", "text_encoder") + (("text_encoder_2",) if family == "sdxl" else ())
    return {part: shell(part, configuration(FAMILIES / family, part)) for part in parts}


@pytest.mark.slow
@pytest.mark.parametrize("family", first_fast(["sd1", "sdxl"]))
def test_every_name_of_an_independent_list_is_a_layer_of_the_base(family: str, tmp_path: Path) -> None:
    """sd-mecha's lists of kohya's names, at their real sizes: read, each is a layer, of the listed shape."""
    components = listed(f"{family}-kohya")
    shapes = {
        "lora_" + key.removesuffix(".weight").replace(".", "_"): tuple(known["shape"])
        for part in ("diffuser", "clip_l", "clip_g")
        for key, known in components.get(part, {}).items()
        if key.endswith(".weight") and len(known["shape"]) in (2, 4) and "embedding.weight" not in key
    }
    tensors = {}
    for key, (out, read, *window) in shapes.items():
        tensors[f"{key}.lora_down.weight"] = torch.zeros(1, read, *window, dtype=torch.float16)
        tensors[f"{key}.lora_up.weight"] = torch.zeros(out, 1, *[1] * len(window), dtype=torch.float16)
        tensors[f"{key}.alpha"] = torch.tensor(0.5, dtype=torch.float16)
    save_file(tensors, tmp_path / "lora.safetensors")
    file = TensorFile.open(tmp_path / "lora.safetensors")
    assert recognise(file).family == family
    artifact = open_artifact(tmp_path / "lora.safetensors")
    assert (artifact.settings.rank, artifact.settings.alpha) == (1, 0.5)
    layers = {}
    for part, module in real(family).items():
        root = f"{part}.text_model" if part.startswith("text") and not hasattr(module, "text_model") else part
        layers |= {f"{root}.{path}": layer for path, layer in module.named_modules()}
    read_paths = {name.rpartition(".lora_")[0] for name in artifact.tensors}
    assert len(read_paths) == len(shapes) > 250
    for path in read_paths:
        a, b = artifact.tensors[f"{path}.lora_A.weight"], artifact.tensors[f"{path}.lora_B.weight"]
        weight = layers[path].weight
        assert (b.shape[0], a[0].numel()) == (weight.shape[0], weight[0].numel()), path


OLD = {
    "diffusers of 2023": (".lora.down.weight", ".lora.up.weight"),
    "text encoders of 2023": (".lora_linear_layer.down.weight", ".lora_linear_layer.up.weight"),
    "peft with an adapter's name": (".lora_A.default.weight", ".lora_B.default.weight"),
    "peft": (".lora_A.weight", ".lora_B.weight"),
}


@pytest.mark.slow
@pytest.mark.parametrize("layout", OLD)
def test_older_layouts(layout: str, tmp_path: Path) -> None:
    artifact = random_lora(tiny_base(), conv=False)
    renamed = {}
    for name, tensor in artifact.tensors.items():
        if not name.endswith("alpha"):
            new = name.replace(".lora_A.weight", OLD[layout][0]).replace(".lora_B.weight", OLD[layout][1])
            renamed[f"base_model.model.{new.removeprefix('unet.')}" if layout == "peft" else new] = tensor
    if layout == "peft":
        renamed = {name: tensor for name, tensor in renamed.items() if "text_encoder" not in name}
        (tmp_path / "adapter_config.json").write_text(json.dumps({"r": 2, "lora_alpha": 5.0}))
    save_file(renamed, tmp_path / "x.safetensors")
    read = open_artifact(tmp_path / "x.safetensors")
    layers = [name.removesuffix(".lora_A.weight") for name in read.tensors if name.endswith("lora_A.weight")]
    for path in layers:
        assert torch.equal(read.tensors[f"{path}.lora_A.weight"], artifact.tensors[f"{path}.lora_A.weight"])
        rank = len(read.tensors[f"{path}.lora_A.weight"])
        alpha = float(read.tensors.get(f"{path}.alpha", torch.tensor(read.settings.alpha)))
        assert alpha == (5.0 if layout == "peft" else rank)
    assert len(layers) > 10


def test_processors_of_the_first_diffusers(tmp_path: Path) -> None:
    path = "mid_block.attentions.0.transformer_blocks.0.attn1"
    tensors = {
        f"unet.{path}.processor.{layer}_lora.{way}.weight": torch.randn(*shape)
        for layer in ("to_q", "to_out")
        for way, shape in (("down", (2, 16)), ("up", (16, 2)))
    }
    save_file(tensors, tmp_path / "x.safetensors")
    names = set(open_artifact(tmp_path / "x.safetensors").tensors)
    assert names == {f"unet.{path}.{layer}.lora_{ab}.weight" for layer in ("to_q", "to_out.0") for ab in "AB"}


def test_rslora_and_patterns(tmp_path: Path) -> None:
    one, other = "unet.mid_block.attentions.0.proj_in", "unet.conv_in"
    tensors = {f"{p}.lora_A.weight": torch.zeros(4, 8) for p in (one, other)}
    tensors |= {f"{p}.lora_B.weight": torch.zeros(8, 4) for p in (one, other)}
    told = {"unet.r": 4, "unet.lora_alpha": 6, "unet.use_rslora": True, "unet.alpha_pattern": {"conv_in": 10}}
    save_file(tensors, tmp_path / "x.safetensors", {"lora_adapter_metadata": json.dumps(told)})
    read = open_artifact(tmp_path / "x.safetensors").tensors
    assert (float(read[f"{one}.alpha"]), float(read[f"{other}.alpha"])) == (12.0, 20.0)  # times the root of the rank


@pytest.mark.slow
def test_our_training_survives_other_layouts(base: Base, tmp_path: Path) -> None:
    artifact = learned(base, trial("lora", rank=2, alpha=6.0, lr=1e-3))
    save(artifact, tmp_path / "own.safetensors")
    for to in ("kohya", "diffusers", "triptych"):
        convert(ConversionRequest(tmp_path / "own.safetensors", to, tmp_path / f"{to}.safetensors"))
        read = open_artifact(tmp_path / f"{to}.safetensors")
        assert (read.settings, read.provenance) == (artifact.settings, artifact.provenance)
        assert read.tensors.keys() == artifact.tensors.keys()
        with artifact.apply(base):
            one = look(base)
        with read.apply(base):
            assert torch.equal(look(base), one)
    metadata = TensorFile.open(tmp_path / "kohya.safetensors").metadata
    assert metadata["ss_network_alpha"] == "6.0"
    assert metadata["modelspec.sai_model_spec"] == "1.0.1"


LEAVES = st.sampled_from(["lora", "dora", "loha", "lokr", "ia3", "oft", "full", "norm"])


def leaves_of(kind: str, rank: int, random: torch.Generator) -> dict[str, Tensor]:
    def some(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=random)

    alpha = torch.tensor(float(rank) + 0.5)
    return {
        "lora": {"lora_A.weight": some(rank, 8), "lora_B.weight": some(8, rank), "alpha": alpha},
        "dora": {
            "lora_A.weight": some(rank, 8), "lora_B.weight": some(8, rank), "dora_scale": some(8, 1), "alpha": alpha,
        },
        "loha": {f"hada_w{i}_{ab}": some(*((8, rank) if ab == "a" else (rank, 8))) for i in "12" for ab in "ab"}
        | {"alpha": alpha},
        "lokr": {"lokr_w1": some(2, 2), "lokr_w2_a": some(4, rank), "lokr_w2_b": some(rank, 4), "alpha": alpha},
        "ia3": {"weight": some(8), "on_input": torch.tensor(1)},
        "oft": {"oft_blocks": some(2, 4, 4), "alpha": torch.tensor(0.0)},
        "full": {"diff": some(8, 8), "diff_b": some(8)},
        "norm": {"w_norm": some(8), "b_norm": some(8)},
    }[kind]  # fmt: skip


@pytest.mark.slow
@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(LEAVES, min_size=1, max_size=3), st.integers(1, 4), st.integers(0, 99))
def test_whatever_it_is_it_comes_back(tmp_path: Path, kinds: list[str], rank: int, seed: int) -> None:
    """Random artifacts through every layout that can hold them: the same effect on the base."""
    random = torch.Generator().manual_seed(seed)
    attention = "unet.down_blocks.0.attentions.0.transformer_blocks.0.attn1"
    tensors = {}
    for kind, layer in zip(kinds, ("to_q", "to_k", "to_v"), strict=False):
        path = "unet.down_blocks.0.attentions.0.norm" if kind == "norm" else f"{attention}.{layer}"
        tensors |= {f"{path}.{leaf}": tensor for leaf, tensor in leaves_of(kind, rank, random).items()}
    artifact, base = Artifact("lora", method_named("lora").configure({}), tensors), tiny_base()
    save(artifact, tmp_path / "own.safetensors")
    with artifact.apply(base, 0.5):
        one = look(base)
    for to in ("kohya", "diffusers", "triptych"):
        request = ConversionRequest(tmp_path / "own.safetensors", to, tmp_path / f"{to}.safetensors")
        if to == "diffusers" and not set(kinds) <= {"lora", "dora"}:
            with pytest.raises(TriptychError, match="holds LoRA only"):
                convert(request)
            continue
        convert(request)
        with open_artifact(request.out).apply(base, 0.5):
            assert torch.allclose(look(base), one, atol=1e-6)


def test_bundled_embeddings_are_told(tmp_path: Path) -> None:
    artifact = random_lora(tiny_base(), conv=False)
    from triptych.exchange.formats.kohya_lora import KohyaLora

    KohyaLora().write(artifact, tmp_path / "x.safetensors")
    more: dict[str, Any] = {"bundle_emb.fox.string_to_param.*": torch.zeros(2, 12)}
    save_file(load_file(tmp_path / "x.safetensors") | more, tmp_path / "y.safetensors")
    assert recognise(TensorFile.open(tmp_path / "y.safetensors")).details["embeddings within"] == "fox"
    assert not any("bundle" in name for name in open_artifact(tmp_path / "y.safetensors").tensors)


def test_a_lora_for_another_family_says_so(tmp_path: Path) -> None:
    path = "mid_block_attentions_0_transformer_blocks_0_attn2_to_k"
    tensors = {f"lora_unet_{path}.lora_down.weight": torch.zeros(2, 1024)}
    tensors |= {f"lora_unet_{path}.lora_up.weight": torch.zeros(16, 2)}
    save_file(tensors, tmp_path / "x.safetensors")
    read = open_artifact(tmp_path / "x.safetensors")
    with pytest.raises(TriptychError, match=r"attn2.to_k.lora_A.*\(2, 1024\).*it is for Stable Diffusion 2"):
        read.apply(tiny_base()).__enter__()
    save_file({"lora_unet_nonsense.lora_down.weight": torch.zeros(2, 8)}, tmp_path / "y.safetensors")
    with pytest.raises(TriptychError, match=r"without lora_B"):
        open_artifact(tmp_path / "y.safetensors")
