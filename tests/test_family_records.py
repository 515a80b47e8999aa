"""The record of each family: what is told by it alone, without torch."""

from __future__ import annotations

import subprocess
import sys

import pytest

from triptych.errors import TriptychError
from triptych.families import (
    by_context_width,
    by_metadata,
    by_projection,
    by_structure,
    by_text_widths,
    families,
    family_named,
)


def name(family: object) -> str | None:
    return getattr(family, "name", None)


def test_each_family_is_told_from_the_others() -> None:
    for family in families().values():
        assert name(by_text_widths(text.width for text in reversed(family.texts))) == family.name
        assert name(by_metadata({"ss_base_model_version": family.version})) == family.name
        assert name(by_metadata({"modelspec.architecture": f"{family.architecture}/lora"})) == family.name
        if family.context_width:
            assert name(by_context_width(family.context_width)) == family.name
            assert by_structure(pooled=family.pooled, linear=family.linear) is family
        assert (
            by_metadata({"ss_base_model_version": "of another"}) is by_context_width(0) is by_text_widths([1]) is None
        )


def test_what_only_some_files_say() -> None:
    assert name(by_metadata({"ss_base_model_version": "sd_v2_v"})) == "sd2"
    assert name(by_metadata({"modelspec.architecture": "stable-diffusion-v2-768-v/lora"})) == "sd2"
    assert name(by_metadata({"modelspec.architecture": "stable-diffusion-xl-v0-9-base"})) == "sdxl"
    assert [name(by_projection(width)) for width in (768, 1024, 1280)] == ["sd1", "sd2", None]


def test_names_follow_from_component_and_family() -> None:
    sdxl = family_named("sdxl")
    assert sdxl.components == ("text_encoder", "text_encoder_2", "vae", "unet")
    assert sdxl.folders == ("tokenizer", "tokenizer_2", *sdxl.components, "scheduler")
    assert sdxl.kohya_prefixes == {
        "unet": "lora_unet_", "text_encoder": "lora_te1_", "text_encoder_2": "lora_te2_",
    }  # fmt: skip
    assert family_named("sd1").kohya_prefixes["text_encoder"] == "lora_te_"


def test_an_unknown_family_is_refused_with_the_near_miss() -> None:
    with pytest.raises(TriptychError, match="sdxl"):
        family_named("sdlx")


@pytest.mark.parametrize("module", ["triptych.families", "triptych.files.checkpoint", "triptych.exchange.inspection"])
def test_no_torch_is_needed(module: str) -> None:
    code = f"import sys, {module} as m; getattr(m, 'families', dict)(); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
