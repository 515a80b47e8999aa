"""Names of the original layout, held against an independent list of them and against diffusers' own modules."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest
import torch

from tests.originals import listed, real_shapes
from triptych.base.opening.names import denoiser_modules, ema_key, family_of_config, origins, text_modules, vae_modules
from triptych.base.opening.single import configuration, shell
from triptych.families import FOLDER as FAMILIES
from triptych.families import family_named

FAMILY = ("sd1", "sd2", "sdxl")
UNREAD = ("position_ids", "logit_scale")


def shapes_of(family: str, part: str) -> dict[str, tuple[int, ...]]:
    """What a checkpoint has for a part, worked out from the module that diffusers or transformers builds."""
    config = configuration(FAMILIES / family, part)
    state = shell(part, config).state_dict()
    found = {}
    for name, origin in origins(family_named(family), part, config, state).items():
        shape = tuple(state[name].shape)
        if origin.third is not None:
            shape = (3 * shape[0], *shape[1:])
        if origin.transposed:
            shape = shape[::-1]
        found[origin.key] = (*shape, 1, 1) if origin.pointwise else shape
    return found


@pytest.mark.slow
@pytest.mark.parametrize(("family", "part"), [(f, part) for f in FAMILY for part in family_named(f).components])
def test_every_key_of_the_list_and_no_other(family: str, part: str) -> None:
    expected = real_shapes(family)[part]
    unread = {key for key in expected if key.rpartition(".")[2] in UNREAD}
    if family == "sd2":  # whose last layer and projection are never read
        unread |= {key for key in expected if ".resblocks.23." in key or key.endswith("text_projection")}
    assert shapes_of(family, part) == {key: shape for key, shape in expected.items() if key not in unread}


@pytest.mark.slow
def test_averaged_copies_are_named_as_in_the_list() -> None:
    unet = [ema_key(key) for key in shapes_of("sd1", "unet")]
    assert {*unet, "model_ema.decay", "model_ema.num_updates"} == set(listed("sd1-ldm")["ema"])
    assert len(unet) == len(set(unet))


def own_parameters(module: torch.nn.Module) -> set[str]:
    return {name for name, inner in module.named_modules() if list(inner.parameters(recurse=False))}


UNETS: list[dict[str, Any]] = [
    {"block_out_channels": [4, 8], "layers_per_block": 1, "down_block_types": ["CrossAttnDownBlock2D"] * 2,
     "up_block_types": ["CrossAttnUpBlock2D"] * 2},
    {"block_out_channels": [4, 4, 8], "layers_per_block": [1, 3, 2], "transformer_layers_per_block": [1, 2, 3],
     "down_block_types": ["DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"],
     "up_block_types": ["CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"], "use_linear_projection": True},
    {"block_out_channels": [4, 8], "layers_per_block": 2, "transformer_layers_per_block": [[1, 2], [3, 1]],
     "reverse_transformer_layers_per_block": [[1, 3, 2], [2, 1, 1]], "down_block_types": ["CrossAttnDownBlock2D"] * 2,
     "up_block_types": ["CrossAttnUpBlock2D"] * 2},
]  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("config", UNETS)
def test_unets_of_other_structures(config: dict[str, Any]) -> None:
    from diffusers.loaders.single_file_utils import convert_ldm_unet_checkpoint

    config = {**config, "norm_num_groups": 2, "attention_head_dim": 2, "cross_attention_dim": 6}
    module = shell("unet", config)
    names = denoiser_modules(config)
    assert names.keys() == own_parameters(module)
    assert len(set(names.values())) == len(names)
    defaults = {"class_embed_type": None, "addition_embed_type": None, **config}
    if isinstance(config["layers_per_block"], int):  # diffusers' converter knows no other
        original = {
            origin.key: name
            for name, origin in origins(family_named("sd1"), "unet", config, module.state_dict()).items()
        }
        assert all(name == theirs for theirs, name in convert_ldm_unet_checkpoint(original, defaults).items())
        assert len(convert_ldm_unet_checkpoint(original, defaults)) == len(module.state_dict())


def test_autoencoders_of_other_structures() -> None:
    config = {"block_out_channels": [4, 4, 8], "layers_per_block": 1, "norm_num_groups": 2,
              "down_block_types": ["DownEncoderBlock2D"] * 3, "up_block_types": ["UpDecoderBlock2D"] * 3}  # fmt: skip
    assert vae_modules(config).keys() == own_parameters(shell("vae", config))


@pytest.mark.parametrize("family", FAMILY)
def test_text_encoders_have_every_module(family: str) -> None:
    for side in family_named(family).texts:
        config = configuration(FAMILIES / family, side.component)
        own = {name.removeprefix("text_model.") for name in own_parameters(shell(side.component, config))}
        assert text_modules(config, side).keys() == own


@pytest.mark.parametrize("family", FAMILY)
def test_family_is_told_by_structure(family: str) -> None:
    assert family_of_config(configuration(FAMILIES / family, "unet")).name == family


def test_a_header_is_told_without_torch() -> None:
    code = "import sys, triptych.exchange.formats as f; f.formats(); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
