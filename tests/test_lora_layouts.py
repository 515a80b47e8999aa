"""LoRA files as other programs name their layers: each draws the same as under the canonical names, and what of a file
is not used is said.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from tests.originals import real_shapes
from tests.test_formats_lora import real
from tests.worlds import call, look
from triptych.base import Base, tiny_base
from triptych.errors import TriptychError
from triptych.exchange.artifact import Artifact
from triptych.exchange.conversion import ConversionRequest, convert
from triptych.exchange.formats import Recognised, open_artifact, recognise
from triptych.files.tensorfile import TensorFile
from triptych.methods import method_named

ATTENTION = re.compile(r"attn[12]\.to_(q|k|v|out\.0)$|self_attn\.(q|out)_proj$")
BLOCK = "unet.down_blocks.0.attentions.0.transformer_blocks.0"
Rename = Callable[[str], str]


def some(*shape: int, seed: int = 0) -> Tensor:
    return 0.5 * torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def canonical(base: Base, rank: int = 2) -> dict[str, Tensor]:
    """On the attention of UNet and text encoder."""
    found: dict[str, Tensor] = {}
    for part, module in base.modules().items():
        root = f"{part}.text_model" if part.startswith("text") and not hasattr(module, "text_model") else part
        for i, (path, layer) in enumerate(module.named_modules()):
            if isinstance(layer, nn.Linear) and ATTENTION.search(path):
                found[f"{root}.{path}.lora_A.weight"] = some(rank, layer.in_features, seed=i)
                found[f"{root}.{path}.lora_B.weight"] = some(layer.out_features, rank, seed=i + 1)
    return found


def drawn(base: Base, tensors: dict[str, Tensor], alpha: float = 2.0) -> Tensor:
    with Artifact("lora", method_named("lora").configure({"rank": 2, "alpha": alpha}), tensors).apply(base):
        return look(base)


def of_unet(name: str) -> bool:
    return name.startswith("unet.")


def ways(down: str, up: str) -> Rename:
    return lambda name: name.replace(".lora_A.weight", down).replace(".lora_B.weight", up)


def processors(name: str) -> str:
    """diffusers' first attention processors."""
    name = name.replace(".to_out.0.", ".to_out.").removeprefix("unet.")
    return re.sub(
        r"\.(to_\w+)\.lora_([AB])", lambda m: f".processor.{m[1]}_lora.{'down' if m[2] == 'A' else 'up'}", name
    )


def old_text(name: str) -> str:
    """Text encoders' names of the same time."""
    name = name.replace("out_proj", "to_out").replace("q_proj", "to_q")
    return re.sub(r"\.(to_\w+)\.lora_([AB])", lambda m: f".{m[1]}_lora.{'down' if m[2] == 'A' else 'up'}", name)


LAYOUTS: dict[str, tuple[Callable[[str], bool], Rename]] = {
    "peft, without unet": (of_unet, lambda name: name.removeprefix("unet.")),
    "lora.down, without unet": (
        of_unet, lambda name: ways(".lora.down.weight", ".lora.up.weight")(name).removeprefix("unet."),
    ),
    "lora_down with dots": (lambda _: True, ways(".lora_down.weight", ".lora_up.weight")),
    "unet twice": (of_unet, lambda name: f"unet.{name}"),
    "peft within unet": (of_unet, lambda name: name.replace("unet.", "unet.base_model.model.")),
    "attention processors": (of_unet, processors),
    "attention processors of unet": (of_unet, lambda name: f"unet.{processors(name)}"),
    "to_q_lora of text encoders": (lambda name: not of_unet(name), old_text),
    "text encoders without text_model": (lambda _: True, lambda name: name.replace(".text_model.", ".")),
    "an adapter's name": (lambda _: True, ways(".lora_A.my_style.weight", ".lora_B.my_style.weight")),
}  # fmt: skip


@pytest.mark.parametrize("layout", LAYOUTS)
def test_layouts_of_diffusers_and_peft(layout: str, tmp_path: Path) -> None:
    wanted, rename = LAYOUTS[layout]
    base = tiny_base()
    tensors = {name: tensor for name, tensor in canonical(base).items() if wanted(name)}
    save_file({rename(name): tensor for name, tensor in tensors.items()}, tmp_path / "x.safetensors")
    read = open_artifact(tmp_path / "x.safetensors")
    assert read.tensors.keys() == tensors.keys()
    assert not read.not_used(base)
    with read.apply(base):
        ours = look(base)
    assert torch.equal(ours, drawn(base, tensors))
    assert not torch.allclose(ours, look(base), atol=1e-3)


@pytest.mark.parametrize("ending", [".alpha", ".lora.alpha"])
def test_alphas_as_tensors_beside_diffusers_names(ending: str, tmp_path: Path) -> None:
    base = tiny_base()
    tensors = {name: tensor for name, tensor in canonical(base).items() if of_unet(name)}
    layers = {name.rpartition(".lora_")[0] for name in tensors}
    save_file(tensors | {f"{path}{ending}": torch.tensor(5.0) for path in layers}, tmp_path / "x.safetensors")
    read = open_artifact(tmp_path / "x.safetensors")
    assert (read.settings.rank, read.settings.alpha) == (2, 5.0)
    wanted = drawn(base, tensors, alpha=5.0)
    with read.apply(base):
        assert torch.equal(look(base), wanted)


@pytest.mark.slow
def test_todays_save_lora_adapter(tmp_path: Path) -> None:
    """Written by diffusers itself from its UNet, whose alpha is not its rank."""
    from peft import LoraConfig

    other, base = tiny_base(), tiny_base()
    other.denoiser.module.add_adapter(LoraConfig(r=2, lora_alpha=6, target_modules=["to_q", "to_out.0"]))
    for i, (name, parameter) in enumerate(other.denoiser.module.named_parameters()):
        if "lora_B" in name:
            parameter.data = some(*parameter.shape, seed=i)
    theirs = look(other)
    other.denoiser.module.save_lora_adapter(tmp_path)
    read = open_artifact(tmp_path / "pytorch_lora_weights.safetensors")
    assert read.settings.alpha == 6
    with read.apply(base):
        assert torch.allclose(look(base), theirs, atol=1e-5)
    assert not torch.allclose(look(base), theirs, atol=1e-3)


@pytest.mark.slow
@pytest.mark.parametrize("family", ["sd1", "sd2", "sdxl"])
def test_comfyuis_own_names(family: str, tmp_path: Path) -> None:
    """The names of the original layout, of the real sizes: each is a layer, of the listed shape."""
    tensors = {}
    for key, shape in real_shapes(family)["unet"].items():
        if key.endswith(".weight") and len(shape) in (2, 4):
            path = key.removeprefix("model.").removesuffix(".weight")
            tensors[f"{path}.lora_down.weight"] = torch.zeros(1, *shape[1:], dtype=torch.float16)
            tensors[f"{path}.lora_up.weight"] = torch.zeros(shape[0], 1, dtype=torch.float16)
    text = {"sd1": "clip_l", "sd2": "clip_h", "sdxl": "clip_g"}[family]
    layer = f"text_encoders.{text}.transformer.text_model.encoder.layers.1.mlp.fc1"
    tensors |= {f"{layer}.diff": torch.zeros(8, 4), f"{layer}.diff_b": torch.zeros(8)}
    save_file(tensors, tmp_path / "x.safetensors")
    found = recognise(TensorFile.open(tmp_path / "x.safetensors"))
    assert (found.format, found.family) == ("comfyui-lora", family)
    read = open_artifact(tmp_path / "x.safetensors").tensors
    modules = dict(real(family)["unet"].named_modules())
    paths = {name.removeprefix("unet.").removesuffix(".lora_A.weight") for name in read if name.endswith("A.weight")}
    assert len(paths) == (len(tensors) - 2) // 2 > 200
    for path in paths:
        weight = modules[path].weight
        assert isinstance(weight, Tensor)
        assert read[f"unet.{path}.lora_A.weight"].numel() == weight[0].numel(), path
        assert len(read[f"unet.{path}.lora_B.weight"]) == len(weight), path
    part = "text_encoder_2" if family == "sdxl" else "text_encoder"
    assert f"{part}.text_model.encoder.layers.1.mlp.fc1.diff_b" in read


@pytest.mark.slow
@pytest.mark.parametrize("with_lora", [True, False])
def test_a_bias_that_changes_too(with_lora: bool, tmp_path: Path) -> None:
    base, other = tiny_base(), tiny_base()
    layer = other.denoiser.module.down_blocks[0].resnets[0].conv1
    a, b, bias = some(2, 8, 3, 3), some(8, 2, 1, 1, seed=1), some(8, seed=2)
    key = "lora_unet_down_blocks_0_resnets_0_conv1"
    low_rank = {f"{key}.lora_down.weight": a, f"{key}.lora_up.weight": b} if with_lora else {}
    save_file({f"{key}.diff_b": bias, **low_rank}, tmp_path / "x.safetensors")
    with torch.no_grad():
        layer.bias += 0.5 * bias
        if with_lora:
            layer.weight += 0.5 * (b.flatten(1) @ a.flatten(1)).reshape(layer.weight.shape)
    with open_artifact(tmp_path / "x.safetensors").apply(base, 0.5):
        assert torch.allclose(look(base), look(other), atol=1e-5)
    convert(ConversionRequest(tmp_path / "x.safetensors", "kohya", tmp_path / "y.safetensors"))
    assert torch.equal(load_file(tmp_path / "y.safetensors")[f"{key}.diff_b"], bias)


@pytest.mark.parametrize("alpha", [1.0, 1e-3])
def test_kohyas_own_oft(alpha: float, tmp_path: Path) -> None:
    """The rotation straight from its definition, limited by alpha times the outputs."""
    base, other = tiny_base(), tiny_base()
    layer = other.denoiser.module.get_submodule(f"{BLOCK.removeprefix('unet.')}.attn1.to_q")
    blocks = some(2, 4, 4)
    key = f"oft_unet_{BLOCK.removeprefix('unet.').replace('.', '_')}_attn1_to_q"
    save_file({f"{key}.oft_blocks": blocks, f"{key}.alpha": torch.tensor(alpha)}, tmp_path / "x.safetensors")
    q = blocks - blocks.mT
    q = q * min(1.0, alpha * 8 / float(q.norm()))
    turn = torch.block_diag(*((torch.eye(4) + one) @ torch.linalg.inv(torch.eye(4) - one) for one in q))
    with torch.no_grad():
        layer.weight.copy_(turn.T @ layer.weight)
    with open_artifact(tmp_path / "x.safetensors").apply(base):
        assert torch.allclose(look(base), look(other), atol=1e-5)
    assert not torch.allclose(look(base), look(other), atol=1e-5)


@pytest.mark.parametrize("layout", ["kohya", "diffusers", "comfyui"])
def test_layers_of_rank_0_are_skipped_and_said(layout: str, tmp_path: Path) -> None:
    names = {
        "kohya": ("lora_unet_mid_block_attentions_0_transformer_blocks_0_attn{}_to_q", "lora_down", "lora_up"),
        "diffusers": ("unet.mid_block.attentions.0.transformer_blocks.0.attn{}.to_q", "lora_A", "lora_B"),
        "comfyui": ("diffusion_model.middle_block.1.transformer_blocks.0.attn{}.to_q", "lora_down", "lora_up"),
    }
    path, down, up = names[layout]
    tensors = {
        f"{path.format(n)}.{way}.weight": torch.ones(shape)
        for n, rank in ((1, 0), (2, 3))
        for way, shape in ((down, (rank, 16)), (up, (16, rank)))
    }
    save_file(tensors, tmp_path / "x.safetensors")
    (note,) = recognise(TensorFile.open(tmp_path / "x.safetensors")).notes
    assert "1 layer of rank 0" in note
    assert "attn1" in note
    assert open_artifact(tmp_path / "x.safetensors").settings.rank == 3
    for to in ("kohya", "diffusers", "triptych"):
        request = ConversionRequest(tmp_path / "x.safetensors", to, tmp_path / f"{to}.safetensors")
        assert f"x.safetensors: {note}" in convert(request)
        assert len(open_artifact(request.out).tensors) == 2
    save_file(
        {name: tensor for name, tensor in tensors.items() if "1" in name.partition(".lora")[0][-6:]},
        tmp_path / "none.safetensors",
    )
    with pytest.raises(TriptychError, match="rank 0: there is nothing to attach"):
        open_artifact(tmp_path / "none.safetensors")


MISSING = {
    "a text encoder's layer": ("text_encoder.text_model.encoder.layers.23.mlp.fc1", True),
    "a second text encoder": ("text_encoder_2.text_model.encoder.layers.0.mlp.fc1", True),
    "a layer beside attention": ("unet.down_blocks.0.resnets.7.conv1", True),
    "attention": ("unet.down_blocks.3.attentions.0.transformer_blocks.0.attn1.to_q", False),
}


@pytest.mark.parametrize("what", MISSING)
def test_layers_that_the_base_lacks(what: str, tmp_path: Path) -> None:
    path, skipped = MISSING[what]
    base = tiny_base()
    tensors = canonical(base)
    save_file(
        tensors | {f"{path}.lora_A.weight": some(2, 8), f"{path}.lora_B.weight": some(8, 2)}, tmp_path / "x.safetensors"
    )
    read = open_artifact(tmp_path / "x.safetensors")
    if skipped:
        (note,) = read.not_used(base)
        assert note == f"x.safetensors: skipped 1 layer that this base lacks ({path})"
        wanted = drawn(base, tensors)
        with read.apply(base):
            assert torch.equal(look(base), wanted)
        return
    plain = look(base)
    for attempt in (lambda: read.not_used(base), lambda: read.apply(base).__enter__()):
        with pytest.raises(TriptychError, match=rf"no layer {re.escape(path)}"):
            attempt()
    assert torch.equal(look(base), plain)


def test_a_file_of_which_a_base_has_nothing_is_refused(tmp_path: Path) -> None:
    path = "text_encoder_2.text_model.encoder.layers.0.mlp.fc1"
    save_file({f"{path}.lora_A.weight": some(2, 8), f"{path}.lora_B.weight": some(8, 2)}, tmp_path / "x.safetensors")
    with pytest.raises(TriptychError, match="this one has no layer text_encoder_2"):
        open_artifact(tmp_path / "x.safetensors").not_used(tiny_base())


OTHERS = {  # layer, width, metadata -> family
    "lora_unet_double_blocks_3_img_attn_qkv.lora_down.weight": (3072, {}, "Flux"),
    "transformer.single_transformer_blocks.0.attn.to_q.lora_A.weight": (3072, {}, "Flux"),
    "diffusion_model.single_blocks.2.linear1.lora_A.weight": (3072, {}, "Flux"),
    "transformer.transformer_blocks.1.attn.add_k_proj.lora_A.weight": (3072, {}, "Flux"),
    "lora_unet_joint_blocks_0_x_block_attn_qkv.lora_down.weight": (1536, {}, "SD3"),
    "transformer.transformer_blocks.0.attn.add_q_proj.lora_A.weight": (1536, {}, "SD3"),
    "diffusion_model.joint_blocks.4.context_block.attn.qkv.lora_up.weight": (1536, {}, "SD3"),
    "lora_prior_unet_down_blocks_0_1_attention.lora_down.weight": (64, {}, "Stable Cascade"),
    "diffusion_model.blocks.0.cross_attn.k.lora_A.weight": (1536, {}, "Wan"),
    "transformer.transformer_blocks.0.img_mlp.net.2.lora_A.weight": (3072, {}, "Qwen-Image"),
    "transformer.blocks.0.mixer.lora_A.weight": (64, {"modelspec.architecture": "auraflow/lora"}, "AuraFlow"),
    "transformer.blocks.0.mixer.lora_down.weight": (64, {}, "a diffusion transformer"),
    "lora_unet_double_blocks_0_txt_attn_qkv.lora_A.weight": (
        3072, {"ss_base_model_version": "hunyuan_video"}, "HunyuanVideo",
    ),
    "lora_unet_input_blocks_4_1_transformer_blocks_0_attn2_to_k.lora_down.weight": (1280, {}, "the SDXL refiner"),
}  # fmt: skip


@pytest.mark.parametrize("name", OTHERS)
def test_loras_of_other_families_are_refused_by_their_names(name: str, tmp_path: Path) -> None:
    width, metadata, family = OTHERS[name]
    path = tmp_path / "x.safetensors"
    save_file({name: torch.zeros(2, width)}, path, metadata)
    found = recognise(TensorFile.open(path))
    assert (found.kind, found.family) == ("lora", family)
    assert f"it is a LoRA for {family}" in found.notes[0]
    with pytest.raises(TriptychError, match=f"it is a LoRA for {family}"):
        open_artifact(path)


@pytest.mark.slow
def test_a_stable_diffusion_lora_is_of_no_other_family(tmp_path: Path) -> None:
    """Also where every name of a layer of the real sizes is in the file."""
    for family in ("sd1", "sdxl"):
        tensors = {
            f"unet.{path}.lora_A.weight": torch.zeros(1, layer.weight.shape[1])
            for path, layer in real(family)["unet"].named_modules()
            if isinstance(layer, nn.Linear)
        }
        save_file(tensors | {k.replace("_A", "_B"): torch.zeros(4, 1) for k in tensors}, tmp_path / "x.safetensors")
        found: Recognised = recognise(TensorFile.open(tmp_path / "x.safetensors"))
        assert (found.format, found.family) == ("diffusers-lora", family)


@pytest.mark.slow
def test_what_is_skipped_is_said_where_pictures_are_made(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], random_base: Path, tmp_path: Path
) -> None:
    missing = "text_encoder_2.text_model.encoder.layers.0.mlp.fc1"
    tensors = {
        f"{BLOCK}.attn1.to_q.{leaf}.weight": some(*shape) for leaf, shape in (("lora_A", (2, 8)), ("lora_B", (8, 2)))
    }
    tensors |= {f"{missing}.lora_A.weight": some(2, 8), f"{missing}.lora_B.weight": some(8, 2)}
    save_file(tensors, tmp_path / "x.safetensors")
    words = ("generate", "a cat", "--base", random_base / "base", "--use", tmp_path / "x.safetensors", "--steps", "1")
    assert call(monkeypatch, *words, "--out", tmp_path / "out") == 0
    assert capsys.readouterr().err.count("x.safetensors: skipped 1 layer that this base lacks") == 1
