"""LoRA files that are odd: broken tensors, families told by little, weights that move below an open LoRA."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from tests.plain import first_fast
from tests.worlds import learned, look, trial
from triptych.base import tiny_base
from triptych.errors import TriptychError
from triptych.exchange.artifact import Artifact, Part, compose
from triptych.exchange.formats import formats, open_artifact, recognise
from triptych.exchange.saving import save
from triptych.files.tensorfile import TensorFile
from triptych.methods import method_named
from triptych.patching.adapters import change_of

LAYER = "unet.mid_block.attentions.0.transformer_blocks.0.attn1.to_q"
KEY = "lora_unet_mid_block_attentions_0_proj_in"
CROSS = "lora_unet_input_blocks_4_1_transformer_blocks_0_attn2_to_k"


def saved(path: Path, tensors: dict[str, Tensor], **metadata: str) -> Path:
    save_file(tensors, path, metadata)
    return path


def some(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


RELATIVES = {
    "DoRA": {"lora_A.weight": some(2, 16), "lora_B.weight": some(16, 2, seed=1), "dora_scale": some(16, 1).abs() + 0.1},
    "IA3": {"weight": some(16), "on_input": torch.tensor(0)},
    "OFT": {"oft_blocks": some(4, 4, 4)},
    "GLoRA": {f"{half}{n}.weight": some(*((16, 2) if n == 1 else (2, 16)), seed=n) for half in "ab" for n in (1, 2)},
    "LoHa": {f"hada_w{i}_{ab}": some(*((16, 2) if ab == "a" else (2, 16))) for i in "12" for ab in "ab"},
}


@pytest.mark.slow
@pytest.mark.parametrize("name", first_fast(RELATIVES))
def test_what_changes_a_weight_follows_what_moves_it(name: str) -> None:
    """A difference that lies below is taken away, weakened and brought back while the other is open."""
    base = tiny_base()
    below = learned(base, trial("dreambooth", lr=1e-2))
    above = Artifact(
        "lora", method_named("lora").configure({}), {f"{LAYER}.{k}": v for k, v in RELATIVES[name].items()}
    )
    with compose(base, Part(below), Part(above)) as (moving, _):
        one = look(base)
        with torch.inference_mode():
            moving.set_strength(0.5)
            half = look(base)
        moving.set_strength(0)
        none = look(base)
        moving.set_strength(1)
        assert torch.equal(look(base), one)
    with compose(base, Part(below, 0.5), Part(above)):
        assert torch.equal(look(base), half)
    with above.apply(base):
        assert torch.equal(look(base), none)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["DoRA", "IA3", "OFT", "GLoRA", "LoHa"])
def test_strength_scales_the_change_of_the_weight(name: str) -> None:
    base = tiny_base()
    above = Artifact(
        "lora", method_named("lora").configure({}), {f"{LAYER}.{k}": v for k, v in RELATIVES[name].items()}
    )
    other = tiny_base()
    layer = other.denoiser.module.get_submodule(LAYER.removeprefix("unet."))
    with torch.no_grad():
        layer.weight += 0.5 * change_of("x", RELATIVES[name], layer.weight, 8.0)  # the alpha that is the default
    with above.apply(base, 0.5):
        assert torch.allclose(look(base), look(other), atol=1e-5)
    assert not torch.allclose(look(base), look(other), atol=1e-4)


@pytest.mark.parametrize("conv", [False, True])
def test_glora_as_lycoris(conv: bool) -> None:
    from lycoris.modules.glora import GLoRAModule

    torch.manual_seed(0)
    layer: Any = nn.Conv2d(12, 16, 3, padding=1) if conv else nn.Linear(12, 16)
    module = GLoRAModule("x", layer, 1.0, lora_dim=4, alpha=2.0)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(0.2 * torch.randn(parameter.shape))
        theirs = module.get_diff_weight(1.0)[0]
    state = {key: value.detach() for key, value in module.custom_state_dict().items()}
    assert torch.allclose(change_of("x", state, layer.weight, None), theirs.reshape(layer.weight.shape), atol=1e-5)


def test_the_family_is_kept_where_only_the_header_tells_it(tmp_path: Path) -> None:
    """SDXL's names, also for what has no rank and after another file has held it."""
    tensors = {f"{CROSS}.lokr_w1": some(4, 4), f"{CROSS}.lokr_w2": some(160, 512)}
    tensors |= {"lora_te2_text_model_encoder_layers_0_mlp_fc1.weight": some(5120)}
    tensors |= {"lora_te2_text_model_encoder_layers_0_mlp_fc1.on_input": torch.tensor(0)}
    path = saved(tmp_path / "x.safetensors", tensors)
    assert recognise(TensorFile.open(path)).family == "sdxl"
    formats()["kohya-lora"].write(open_artifact(path), tmp_path / "y.safetensors")
    assert load_file(tmp_path / "y.safetensors").keys() == tensors.keys()
    ia3 = {f"{CROSS}.weight": some(640), f"{CROSS}.on_input": torch.tensor(0)}
    path = saved(tmp_path / "z.safetensors", ia3, ss_base_model_version="sdxl_base_v1-0")
    save(open_artifact(path), tmp_path / "own.safetensors")
    formats()["kohya-lora"].write(open_artifact(tmp_path / "own.safetensors"), tmp_path / "y.safetensors")
    assert load_file(tmp_path / "y.safetensors").keys() == ia3.keys()


@pytest.mark.parametrize(
    ("leaves", "why"),
    [
        ({"lora_down.weight": (2, 16, 1, 1), "lora_up.weight": (16, 3, 1, 1)}, r"proj_in.lora_B.weight is \(16, 3, 1"),
        ({"lora_down.weight": (2, 8, 2, 1), "lora_up.weight": (16, 2, 1, 1)}, r"proj_in.lora_A.weight is \(2, 8, 2"),
        ({"lora_down.weight": (), "lora_up.weight": (16, 2)}, r"proj_in.lora_A.weight is \(\)"),
        ({"lora_down.weight": (2, 16), "lora_up.weight": (16, 2), "alpha": (3,)}, r"alpha that is not one number"),
        ({"lora_down.weight": (2, 16), "lora_up.weight": (16, 2), "dora_scale": (5, 1)}, r"dora_scale is \(5, 1\)"),
        ({"lokr_w1_a": (2, 2), "lokr_w2": (8, 8)}, r"lokr_w1_a without lokr_w1_b"),
        ({"lokr_w1": (2, 2), "lokr_w2": (8, 7)}, r"proj_in.lokr_w1 is \(2, 2\)"),
        ({"hada_w1_a": (16,), "hada_w1_b": (2, 16), "hada_w2_a": (16, 2), "hada_w2_b": (2, 16)}, r"hada_w1_a is \(16,"),
        ({"weight": (5,), "on_input": ()}, r"proj_in.weight is \(5,\)"),
        ({"diff": (16, 16), "diff_b": (4,)}, r"proj_in.diff_b is \(4,\)"),
        ({"oft_blocks": (16,)}, r"proj_in.oft_blocks is \(16,\)"),
    ],
)
def test_broken_layers_are_named(leaves: dict[str, tuple[int, ...]], why: str, tmp_path: Path) -> None:
    path = saved(tmp_path / "x.safetensors", {f"{KEY}.{leaf}": torch.ones(shape) for leaf, shape in leaves.items()})
    base = tiny_base()
    with pytest.raises(TriptychError, match=why), open_artifact(path).apply(base):
        pass
    assert not any(module._forward_hooks for module in base.denoiser.module.modules())


def test_lycoris_names_of_a_text_encoder(tmp_path: Path) -> None:
    key = "lycoris_text_model_encoder_layers_0_mlp_fc1"
    path = saved(tmp_path / "x.safetensors", {f"{key}.weight": some(24), f"{key}.on_input": torch.tensor(0)})
    assert set(open_artifact(path).tensors) == {
        f"text_encoder.text_model.encoder.layers.0.mlp.fc1.{leaf}" for leaf in ("weight", "on_input")
    }


def test_a_text_encoder_changes_for_the_owner_alone() -> None:
    layer = "text_encoder.text_model.encoder.layers.0.mlp.fc1"
    tensors = {f"{layer}.lora_A.weight": some(2, 12), f"{layer}.lora_B.weight": some(24, 2)}
    base, artifact = tiny_base(), Artifact("lora", method_named("lora").configure({}), tensors)
    with torch.no_grad(), artifact.apply(base, owner="ann"):
        both = base.encode_for([("ann", ["a dog"]), ("bob", ["a dog"])]).hidden
    plain = base.encode(["a dog"]).hidden[0]
    assert torch.allclose(both[1], plain, atol=1e-6)
    assert not torch.allclose(both[0], plain, atol=1e-2)


def test_a_header_whose_length_begins_like_a_pickle(tmp_path: Path) -> None:
    """One safetensors header in 32 has a length whose lowest byte is 0x80, with which pickles begin."""
    for more in range(0, 320, 8):
        path = saved(tmp_path / "x.safetensors", {"a": torch.zeros(1)}, note="x" * more)
        if path.read_bytes()[:1] == b"\x80":
            assert TensorFile.open(path).container == "safetensors"
            return
    pytest.fail("no header had such a length")
