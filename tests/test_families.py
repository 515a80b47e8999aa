"""Stable Diffusion 1, 2 and XL: each read as diffusers' own pipeline reads it, and every method on each of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from recipes.random_base import save_clip, save_folder
from tests.plain import first_fast
from tests.worlds import learned, look, trial
from triptych.base import Base, Place, open_base, tiny_base
from triptych.base.tiny import Kind
from triptych.errors import TriptychError
from triptych.exchange.formats import open_artifact
from triptych.exchange.saving import save
from triptych.methods import methods

KINDS: tuple[Kind, ...] = ("sd1", "sd2", "sdxl")


def family(kind: Kind, clips: Path) -> Base:
    base = tiny_base(kind=kind)
    for text in base.texts:
        save_clip(text.encoder, clips / text.name, 16)
    base.clip_source = ",".join(str(clips / text.name) for text in base.texts)
    return base


def theirs(base: Base) -> Any:
    from diffusers import StableDiffusionPipeline, StableDiffusionXLPipeline

    if len(base.texts) == 1:
        only = base.texts[0]
        return StableDiffusionPipeline(
            base.vae,
            only.encoder,
            only.tokenizer,
            base.denoiser.module,
            base.process.schedule,
            None,
            None,
            requires_safety_checker=False,
        )
    first, second = base.texts
    return StableDiffusionXLPipeline(
        base.vae,
        first.encoder,
        second.encoder,
        first.tokenizer,
        second.tokenizer,
        base.denoiser.module,
        base.process.schedule,
    )


@pytest.mark.parametrize("kind", KINDS)
def test_prompts_are_read_as_diffusers_reads_them(kind: Kind) -> None:
    base = tiny_base(kind=kind)
    for text in base.texts:
        text.tokenizer.model_max_length = text.room + 2  # diffusers asks the tokenizer, we the encoder
    prompts = ["a red dog", "sun"]
    with torch.no_grad():
        ours = base.encode(prompts)
        told = theirs(base).encode_prompt(
            prompts, device="cpu", num_images_per_prompt=1, do_classifier_free_guidance=False
        )
    assert torch.allclose(ours.hidden, told[0], atol=1e-6)
    assert (ours.pooled is not None) == (kind == "sdxl")
    if ours.pooled is not None:
        # transformers finds the end by the largest id or by the first end token: both are right for these prompts
        assert torch.allclose(ours.pooled, told[2], atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", first_fast(sorted(methods(), key=lambda name: name != "lora")))
def test_every_method_learns_on_every_family(kind: Kind, name: str, tmp_path: Path) -> None:
    base = family(kind, tmp_path)
    before, plain = base.fingerprint(), look(base)
    artifact = learned(base, trial(name, **({} if name == "aesthetic-gradients" else {"steps": 2})))
    assert base.fingerprint() == before
    save(artifact, tmp_path / "file.safetensors")
    read = open_artifact(tmp_path / "file.safetensors")
    with artifact.apply(base):
        one = look(base)
    with read.apply(base) as patch:
        assert torch.equal(look(base), one)
        patch.set_strength(0)
        assert torch.equal(look(base), plain)
    assert not torch.equal(one, plain)
    assert torch.equal(look(base), plain)


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_folders_open(kind: Kind, tmp_path: Path) -> None:
    made = tiny_base(kind=kind)
    save_folder(made, tmp_path)
    opened = Place(str(tmp_path), precision="fp32", resolution=made.resolution).open()  # SDXL reads the size
    assert [text.name for text in opened.texts] == [text.name for text in made.texts]
    assert opened.process.schedule.config.prediction_type == made.process.schedule.config.prediction_type
    assert opened.identity == made.identity
    assert torch.allclose(look(opened), look(made), atol=1e-5)  # attention by another kernel
    assert open_base(str(tmp_path), precision="fp32", resolution=32).resolution == 32


def test_what_cannot_draw_from_a_prompt_alone_is_refused(tmp_path: Path) -> None:
    save_folder(tiny_base(kind="sdxl"), tmp_path)
    index = json.loads((tmp_path / "model_index.json").read_text())
    (tmp_path / "model_index.json").write_text(json.dumps(index | {"text_encoder": [None, None]}))
    with pytest.raises(TriptychError, match="refiner"):
        Place(str(tmp_path)).open()
    (tmp_path / "model_index.json").write_text(json.dumps(index))
    config = json.loads((tmp_path / "unet" / "config.json").read_text())
    (tmp_path / "unet" / "config.json").write_text(json.dumps(config | {"in_channels": 8}))
    with pytest.raises(TriptychError, match="reads 8 channels"):
        Place(str(tmp_path)).open()


def test_an_sdxl_needs_two_clips(tmp_path: Path) -> None:
    base = family("sdxl", tmp_path)
    base.clip_source = str(tmp_path / "text_encoder")
    with pytest.raises(TriptychError, match="2 CLIPs"):
        learned(base, trial("aesthetic-gradients"))
