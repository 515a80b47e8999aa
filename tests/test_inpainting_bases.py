"""Bases for inpainting, which read a mask and the rest of the picture beside the latents."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw
from safetensors.torch import save_file
from torch import Tensor

from recipes.random_base import save_folder
from tests.originals import UNET, small_checkpoint, small_configurations
from tests.worlds import call, learned, pictures, trial
from triptych.base import Base, open_base, tiny_base
from triptych.base.denoiser import UNet
from triptych.base.opening.single import open_single
from triptych.errors import TriptychError
from triptych.exchange.artifact import Part, compose
from triptych.exchange.saving import save
from triptych.sampling.controls import Controls
from triptych.sampling.generate import sample_latents, settings_for
from triptych.sampling.image_to_image import Start
from triptych.sampling.request import Region, Request

SIZE = (16, 16)


def inpainting(seed: int = 0) -> Base:
    """The tiny base with a first convolution that also reads a mask and latents."""
    plain = tiny_base(seed)
    unet = type(plain.denoiser.module).from_config(plain.denoiser.module.config, in_channels=9)
    state = plain.denoiser.module.state_dict()
    more = torch.randn(8, 5, 3, 3, generator=torch.Generator().manual_seed(3)) / 5
    state["conv_in.weight"] = torch.cat([state["conv_in.weight"], more], dim=1)
    unet.load_state_dict(state)
    return Base("tiny", plain.texts, plain.vae, UNet(unet), plain.process, plain.description, 16)


def start() -> Start:
    mask = Image.new("L", SIZE)
    ImageDraw.Draw(mask).rectangle((8, 0, 15, 15), fill=255)
    return Start.of(pictures(1)[0], SIZE, mask, blur=0)


def seen(base: Base, begun: Start | None, **more: Any) -> list[Tensor]:
    """What the network reads in each call."""
    inputs: list[Tensor] = []
    hook = base.denoiser.module.register_forward_pre_hook(lambda _, given: inputs.append(given[0]))
    sample_latents(base, [Request("a dog", (1,), start=begun, **more)], settings_for(base), Controls(denoise=1.0))
    hook.remove()
    return inputs


@torch.no_grad()
def test_the_network_reads_the_mask_and_the_rest_of_the_picture() -> None:
    base = inpainting()
    begun = start()
    pixels = torch.from_numpy(np.asarray(begun.picture, dtype=np.float32)).permute(2, 0, 1)[None] / 127.5 - 1
    pixels[..., 8:] = 0  # grey, as diffusers and A1111 have it
    rest = base.vae.encode(pixels).latent_dist.mean * base.vae.config.scaling_factor
    mask = torch.zeros(8, 8)
    mask[:, 4:] = 1
    for given in seen(base, begun):
        assert given.shape == (2, 9, 8, 8)
        assert torch.equal(given[0, 4], mask)
        assert torch.allclose(given[1, 5:], rest[0], atol=1e-4)


@pytest.mark.slow
def test_without_a_mask_all_is_masked() -> None:
    base = inpainting()
    for begun in (None, Start.of(pictures(1)[0], SIZE)):
        for given in seen(base, begun):
            assert (given[:, 4] == 1).all()
            grey = base.vae.encode(torch.zeros(1, 3, 16, 16)).latent_dist.mean * base.vae.config.scaling_factor
            assert torch.allclose(given[0, 5:], grey[0], atol=1e-4)


def test_regions_read_the_mask_too() -> None:
    calls = seen(inpainting(), start(), regions=(Region("a cat", (0.0, 0.0, 0.5, 1.0)),))
    assert all(0 < float(given[:, 4].mean()) < 1 for given in calls)


@pytest.mark.slow
def test_it_opens_from_a_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    made = inpainting()
    save_folder(made, tmp_path / "base")
    opened = open_base(str(tmp_path / "base"), precision="fp32")
    assert opened.denoiser.reads_mask
    assert opened.identity == made.identity
    pictures(1)[0].save(tmp_path / "start.png")
    start().mask.save(tmp_path / "mask.png")  # type: ignore[union-attr]
    words = [
        "generate",
        "a dog",
        "--base",
        tmp_path / "base",
        "--out",
        tmp_path / "out",
        "--precision",
        "fp32",
        "--resolution",
        "16",
        "--steps",
        "4",
    ]
    masked = ["--from", tmp_path / "start.png", "--mask", tmp_path / "mask.png", "--mask-blur", "0"]
    assert call(monkeypatch, *map(str, [*words, *masked])) == 0
    assert "counts as masked" not in capsys.readouterr().err
    old, new = (np.asarray(Image.open(tmp_path / name)) for name in ("start.png", "out/00000.png"))
    assert np.array_equal(old[:, :8], new[:, :8])
    assert (old[:, 8:] != new[:, 8:]).any()
    assert call(monkeypatch, *map(str, words)) == 0
    assert "there is no mask: all of the picture counts as masked" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.parametrize("family", ["sd1", "sd2", "sdxl"])
def test_it_opens_from_a_single_file(family: str, tmp_path: Path) -> None:
    path, name = tmp_path / "some.safetensors", f"{UNET}input_blocks.0.0.weight"
    folder = small_configurations(tmp_path / "parts", family)
    tensors = small_checkpoint(path, family)
    first = torch.cat([tensors[name], torch.full_like(tensors[name], 0.5), torch.ones_like(tensors[name][:, :1])], 1)
    save_file(tensors | {name: first}, path)
    parts = open_single(path, torch.float32, torch.device("cpu"), configurations=folder)
    assert parts.unet.config.in_channels == 9
    assert torch.equal(parts.unet.conv_in.weight, first)


@pytest.mark.slow
@pytest.mark.parametrize("method", ["lora", "hypernetwork", "textual-inversion", "dreambooth"])
def test_what_the_family_learned_is_attached(method: str) -> None:
    artifact = learned(tiny_base(), trial(method))
    base = inpainting()
    before = base.fingerprint()
    request, drawing = Request("a <concept> dog", (1,), start=start()), settings_for(base)
    plain = sample_latents(base, [request], drawing)
    with compose(base, Part(artifact)):
        changed = sample_latents(base, [request], drawing)
        if method == "dreambooth":
            moved = base.denoiser.module.conv_in.weight - inpainting().denoiser.module.conv_in.weight
            assert moved[:, :4].abs().max() > 0
            assert not moved[:, 4:].any()
    assert not torch.allclose(plain[..., 4:], changed[..., 4:], atol=1e-3)
    assert base.fingerprint() == before


def test_it_is_not_trained(tmp_path: Path) -> None:
    with pytest.raises(TriptychError, match="a base for inpainting: train on the plain base of its family"):
        save(learned(inpainting(), trial("lora")), tmp_path / "one.safetensors")
